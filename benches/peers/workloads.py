"""The networks and minibatches that every peer is timed on."""

import re

WORKLOADS = {
    # name: (input, layers in this project's grammar); classes are the outputs of the last layer
    "conv3x3-8": ("1x28x28", "conv(8,3) pool(2) flatten dense(10)"),
    "digits14-cnn": ("1x14x14", "conv(16,3) pool(2) flatten dense(16) relu dense(5)"),
    "digits14-dnn": ("1x14x14", "dense(16) relu dense(5)"),
    "lenet": ("1x28x28", "conv(8,5) relu pool(2) conv(16,5) relu pool(2) flatten dense(256) relu dense(10)"),
    "mlp3": ("1x28x28", "dense(50) relu dense(50) relu dense(10)"),
    "cnn-32-64": (
        "1x28x28",
        "conv(32,3,pad=1) relu conv(32,3,pad=1) relu pool(2) conv(64,3,pad=1) relu conv(64,3,pad=1) relu pool(2) "
        "flatten dense(128) relu dense(10)",
    ),
    "mlp-512": ("1x28x28", "dense(512) relu dense(512) relu dense(10)"),
}
BATCHES = (1, 8, 32, 128, 1000)


def skip(name, batch):
    """A step of the largest convolution on 1000 images takes seconds: left out."""
    return name == "cnn-32-64" and batch > 128


def layers(name):
    """The layers with all their sizes: ("conv", in, out, kernel, pad), ("pool", k), ("flatten",), ("relu",), ("dense", in, out)."""
    shape, spec = WORKLOADS[name]
    channels, height, width = map(int, shape.split("x"))
    sized = []
    for kind, arguments in re.findall(r"(\w+)(?:\(([^)]*)\))?", spec):
        numbers = [int(argument.removeprefix("pad=")) for argument in arguments.split(",") if argument]
        if kind == "conv":
            out, kernel, pad = (*numbers, 0)[:3]
            sized.append((kind, channels, out, kernel, pad))
            channels, height, width = out, height + 2 * pad - kernel + 1, width + 2 * pad - kernel + 1
        elif kind == "pool":
            sized.append((kind, *numbers))
            height, width = height // numbers[0], width // numbers[0]
        elif kind == "dense":
            sized.append((kind, channels * height * width, *numbers))
            channels, height, width = *numbers, 1, 1
        else:
            sized.append((kind,))
    return sized
