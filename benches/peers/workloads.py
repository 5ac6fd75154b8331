"""The networks and minibatches that every peer is timed on."""

import re


def block(channels, stride=1):
    """A residual block of ResNet, with a projection where it changes the shape."""
    first = f"conv({channels},3,pad=1,stride={stride}) batchnorm relu conv({channels},3,pad=1) batchnorm"
    shortcut = f" | conv({channels},1,stride={stride}) batchnorm" if stride > 1 else ""
    return f"residual({first}{shortcut}) relu"


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
    "conv-norm-pool": (
        "1x28x28",
        "conv(16,3) batchnorm relu pool(2) conv(32,3) batchnorm relu pool(2) flatten dense(10)",
    ),
    "resnet-20": (
        "1x28x28",
        "conv(16,3,pad=1) batchnorm relu "
        + " ".join(block(channels, 2 if first and channels > 16 else 1) for channels in (16, 32, 64) for first in (True, False, False))
        + " globalavgpool flatten dense(10)",
    ),
    "mlp-512": ("1x28x28", "dense(512) relu dense(512) relu dense(10)"),
}
BATCHES = (1, 8, 32, 128, 1000)


def skip(name, batch):
    """A step of the largest networks on 1000 images takes seconds: left out."""
    return name in ("cnn-32-64", "resnet-20") and batch > 128


def layers(name):
    """The layers with all their sizes: ("conv", in, out, kernel, pad) and behind them the stride, if it is not 1, ("pool", k), ("flatten",),
    ("relu",), ("batchnorm", channels), ("globalavgpool",), ("dense", in, out); ("residual",) before the layers of a block, ("shortcut",)
    between them and those of its shortcut, and ("end",) behind it."""
    shape, spec = WORKLOADS[name]
    channels, height, width = map(int, shape.split("x"))
    sized, entered = [], []
    for mark, kind, arguments in re.findall(r"(residual\(|\||\))|(\w+)(?:\(([^()]*)\))?", spec):
        if mark:
            sized.append(({"|": "shortcut", ")": "end"}.get(mark, "residual"),))
            if mark == "residual(":
                entered.append((channels, height, width))
            elif mark == "|":
                channels, height, width = entered[-1]
            else:
                entered.pop()
            continue
        named = dict(argument.split("=") for argument in arguments.split(",") if "=" in argument)
        numbers = [int(argument) for argument in arguments.split(",") if argument and "=" not in argument]
        if kind == "conv":
            (out, kernel), pad, stride = numbers, int(named.get("pad", 0)), int(named.get("stride", 1))
            sized.append((kind, channels, out, kernel, pad) + ((stride,) if stride > 1 else ()))
            channels = out
            height, width = ((size + 2 * pad - kernel) // stride + 1 for size in (height, width))
        elif kind == "pool":
            sized.append((kind, *numbers))
            height, width = height // numbers[0], width // numbers[0]
        elif kind == "batchnorm":
            sized.append((kind, channels))
        elif kind == "globalavgpool":
            sized.append((kind,))
            height, width = 1, 1
        elif kind == "dense":
            sized.append((kind, channels * height * width, *numbers))
            channels, height, width = *numbers, 1, 1
        else:
            sized.append((kind,))
    return sized
