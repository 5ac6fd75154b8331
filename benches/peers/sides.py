"""The two kinds of program that are timed: a peer's process, and ours."""

import array
import contextlib
import json
import random
import struct
import subprocess
import tempfile
import threading

from provide import Missing, reason, run
from workloads import BATCHES, WORKLOADS, layers

RATE = 0.05  # of the peers' steps, and of the first steps whose losses are compared
NORM_RATE = 0.002  # the same with batch normalisation, which magnifies rounding from step to step
FIRST_STEPS = 5  # before the clock
PATIENCE = 300  # seconds that a peer may take for an answer


def has_norms(name):
    return "batchnorm" in WORKLOADS[name][1]


def rate(name):
    return NORM_RATE if has_norms(name) else RATE


class Peer:
    """A peer's process. It speaks the language of python/worker.py."""

    def __init__(self, command, surroundings):
        self.command, self.surroundings = command, surroundings
        self.start()

    def start(self):
        self.errors = tempfile.TemporaryFile("w+")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors, "text": True}
        self.process = subprocess.Popen(list(map(str, self.command)), **pipes, **self.surroundings)
        self.version = self.answer()["version"]

    def first_steps(self, name, batch, path):
        """Takes the first steps from what the file holds: their losses."""
        words = " ".join(str(word) for layer in layers(name) for word in layer)
        shape = WORKLOADS[name][0].replace("x", " ")
        losses = self.ask(f"open {batch} {rate(name)} {FIRST_STEPS} {path} {shape} {words}")["losses"]
        return [loss if loss == loss else None for loss in losses]  # JSON has no NaN

    def time(self, name, batch, seconds):
        return self.ask(f"time {seconds}")

    def ask(self, request):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(request + "\n")
            self.process.stdin.flush()
        return self.answer()

    def answer(self):
        timer = threading.Timer(PATIENCE, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        if not line:
            code = self.process.wait()
            self.errors.seek(0)
            said = reason(self.errors.read())
            raise Missing(said or f"ended with code {code} (it is killed when an answer takes {PATIENCE} s)")
        try:
            return json.loads(line)
        except json.JSONDecodeError:
            raise Missing(f"answered {line.strip()}") from None

    def end(self):
        self.process.kill()
        self.process.wait()


class Ours:
    """This project's program: times its step, and gives the weights to start from and the losses to compare with."""

    def __init__(self, binary, threads, surroundings, folder):
        self.binary, self.threads, self.surroundings, self.folder = binary, threads, surroundings, folder

    def call(self, *words):
        """Runs a command of ours; its events."""
        output = run([self.binary, *words, "--threads", self.threads, "--json"], **self.surroundings)
        return [json.loads(line) for line in output.splitlines()]

    def time(self, name, batch, seconds):
        shape, spec = WORKLOADS[name]
        return self.call("throughput", "--layers", spec, "--input", shape, "--batch-size", batch, "--seconds", seconds)[-1]

    def first_steps(self, name, batch):
        """Writes what all start from into a file: its path, and the losses of our first steps from there."""
        data, images, labels = self.data(name)
        classes = layers(name)[-1][-1]

        def train(epochs, rate):
            # One minibatch an epoch, so that the loss of an epoch is that of a step.
            options = ["--layers", WORKLOADS[name][1], "--data", data, "--train-limit", batch, "--split", "range", "--batch-size", batch]
            options += ["--classes", ",".join(map(str, range(classes))), "--normalize", "unit", "--init", "scaled-uniform"]
            options += ["--optimizer", "sgd", "--schedule", "constant", "--lr", rate, "--epochs", epochs, "--seed", 0]
            return self.call("train", *options, "--test-limit", 1, "--quiet", "--out", self.folder / "run")

        train(1, 1e-30)  # moves no weight: the model written is the network as it was initialised
        model = (self.folder / "run/model.safetensors").read_bytes()
        header = 8 + int.from_bytes(model[:8], "little")
        tensors = json.loads(model[8:header])
        path = self.folder / f"{name}-{batch}"
        with open(path, "wb") as file:
            parts = {tuple(int(word) if word.isdigit() else word for word in tensor.split(".")[:-1]) for tensor in tensors if tensor[0].isdigit()}
            for layer in (".".join(map(str, words)) for words in sorted(parts)):
                for part in ("weight", "bias"):
                    start, end = tensors[f"{layer}.{part}"]["data_offsets"]
                    file.write(model[header + start : header + end])
            pixels = images[: batch * len(images) // len(labels)]
            array.array("f", [pixel / 255 for pixel in pixels]).tofile(file)
            array.array("i", list(labels[:batch])).tofile(file)
        return path, [event["train_loss"] for event in train(FIRST_STEPS, rate(name)) if event["event"] == "epoch_finished"]

    def data(self, name):
        """A folder of IDX files of random images, their bytes and their labels. The higher the class, the brighter the image, so
        that there is something to learn and a wrong gradient shows in the loss."""
        _, height, width = map(int, WORKLOADS[name][0].split("x"))
        classes, count, draw = layers(name)[-1][-1], max(BATCHES), random.Random(0)
        labels = bytes(draw.choices(range(classes), k=count))
        images = b"".join(bytes(pixel * (label + 1) // classes for pixel in draw.randbytes(height * width)) for label in labels)
        folder = self.folder / f"{height}x{width}-{classes}"
        folder.mkdir(exist_ok=True)
        for part in ("train", "t10k"):
            (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 0x803, count, height, width) + images)
            (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, count) + labels)
        return folder, images, labels
