"""The recipe of `cargo xtask speedrun` in PyTorch (eager, CPU), with the same clock and the same JSON fields.

    python3 benches/peers/speedrun.py --data-dir DIR [--seeds 10] [--first-seed 0] [--threads 2] [--layout channels-last]
        [--out docs/measurements/speedrun.jsonl]

Needs torch and numpy. DIR holds MNIST's four IDX files, gzipped or not, or a folder mnist/ that does. Reads the recipe from
recipes/speedrun.toml. The clock of a seed starts when the images are in memory as bytes and stops when the
weights are final; evaluation is outside. Network, initialiser, loss, optimiser, schedule, batches and the choice of the
hardest samples are those of the recipe; random numbers are PyTorch's own, so single accuracies differ.
"""

import argparse
import gzip
import json
import math
import pathlib
import re
import statistics
import sys
import time
import tomllib

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from records import append, circumstances

RECIPE = pathlib.Path(__file__).parents[2] / "recipes/speedrun.toml"
RUN = 1024  # samples that are compared with each other when the hardest are chosen


def read_idx(folder, name):
    """The bytes of an IDX file as an array."""
    for base in (folder, folder / "mnist"):
        for path in (base / name, base / (name + ".gz")):
            if path.exists():
                data = path.read_bytes()
                data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
                shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(data[3])]
                return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)
    sys.exit(f"{folder}: no {name} or {name}.gz here or in mnist/")


def build(layers, side):
    """nn.Sequential from a layer spec of conv, pool, relu and dense."""
    modules, channels, flat = [], 1, None
    for name, arguments in re.findall(r"(\w+)(?:\(([^)]*)\))?", layers):
        numbers = [a.strip() for a in arguments.split(",")] if arguments else []
        options = {k: int(v) for k, v in (a.split("=") for a in numbers if "=" in a)}
        numbers = [int(a) for a in numbers if "=" not in a]
        if name == "conv":
            out, kernel = numbers
            stride = options.get("stride", 1)
            modules.append(nn.Conv2d(channels, out, kernel, stride))
            channels, side = out, (side - kernel) // stride + 1
        elif name == "pool":
            modules.append(nn.MaxPool2d(numbers[0]))
            side //= numbers[0]
        elif name == "relu":
            modules.append(nn.ReLU())
        elif name == "dense":
            if flat is None:
                modules.append(nn.Flatten())
                flat = channels * side * side
            modules.append(nn.Linear(flat, numbers[0]))
            flat = numbers[0]
        else:
            sys.exit(f"{RECIPE}: this script has no layer {name}")
    for module in modules:
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            fan_in = math.prod(module.weight.shape[1:])
            nn.init.normal_(module.weight, 0.0, math.sqrt(2 / fan_in))
            nn.init.zeros_(module.bias)
    return nn.Sequential(*modules)


def call(text):
    """`name(key=number, ...)` as (name, {key: number})."""
    name, _, arguments = text.partition("(")
    pairs = (a.split("=") for a in arguments.rstrip(")").split(",") if a)
    return name, {key.strip(): float(value) for key, value in pairs}


def unpack(images, recipe, layout):
    """Bytes [n, 28, 28] to the network's input [n, 1, crop, crop]."""
    crop = recipe["crop"]
    first = (images.shape[-1] - crop) // 2
    x = images[:, None, first : first + crop, first : first + crop].float()
    return x.div_(255).contiguous(memory_format=layout)


def train(images, labels, recipe, seed, layout):
    """One run of the recipe."""
    torch.manual_seed(seed)
    model = build(recipe["layers"], recipe["crop"]).to(memory_format=layout)
    x, y = unpack(images, recipe, layout), labels.long()
    name, betas = call(recipe["optimizer"])
    assert name == "adam", name
    betas = (betas.get("beta1", 0.9), betas.get("beta2", 0.999))
    optimizer = torch.optim.Adam(model.parameters(), recipe["lr"], betas, fused=True)
    n, size = len(y), recipe["batch-size"]
    counts = [sum(round(share * len(run)) for run in range_runs(n)) for share in recipe["speedrun"]["shares"]]
    total = sum(math.ceil(count / size) for count in counts)
    smoothing = call(recipe["loss"])[1].get("label_smoothing", 0.0)
    name, shape = call(recipe["schedule"])
    assert name == "one-cycle", name
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe["lr"], total, pct_start=shape.get("rise", 0.3), cycle_momentum=False
    )
    freeze = recipe["speedrun"].get("freeze", {"layers": 0, "from": 1})
    freeze_at, step = int(freeze["from"] * total), 0
    residuals = torch.zeros(n)
    first = torch.randperm(n)
    for epoch, share in enumerate(recipe["speedrun"]["shares"]):
        if epoch == 0 and share == 1:
            order = first
        else:
            runs = (first[run.start : run.stop] for run in range_runs(n))
            chosen = [run[residuals[run].topk(round(share * len(run))).indices] for run in runs]
            order = torch.cat(chosen)
            order = order[torch.randperm(len(order))]
        for batch in order.split(size):
            if step == freeze_at:
                # Their gradients stay None: the optimiser leaves them out, and the way back ends behind them.
                model[: freeze["layers"]].requires_grad_(False)
            step += 1
            labels = y[batch]
            logits = model(x[batch])
            loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                p = logits.softmax(1).gather(1, labels[:, None])[:, 0]
                residuals[batch] = 1 - p
    return model


def range_runs(n):
    return [range(start, min(start + RUN, n)) for start in range(0, n, RUN)]


@torch.no_grad()
def accuracy(model, images, labels, recipe, layout):
    x = unpack(images, recipe, layout)
    correct = sum(
        (model(x).argmax(1) == y).sum().item() for x, y in zip(x.split(1000), labels.split(1000))
    )
    return correct / len(labels)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=pathlib.Path, required=True)
    parser.add_argument("--target", type=float, default=0.99)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layout", choices=["contiguous", "channels-last"], default="contiguous")
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE", help="append the result to these records")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    layout = torch.channels_last if options.layout == "channels-last" else torch.contiguous_format
    recipe = tomllib.loads(RECIPE.read_text())

    start = time.perf_counter()
    files = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
    arrays = [torch.from_numpy(read_idx(options.data_dir, name).copy()) for name in files]
    images, labels, test_images, test_labels = arrays
    reading = time.perf_counter() - start

    # PyTorch's first steps load and set up libraries: not counted.
    train(images[:1000], labels[:1000], recipe, 0, layout)

    accuracies, seconds = [], []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        start = time.perf_counter()
        model = train(images, labels, recipe, seed, layout)
        seconds.append(time.perf_counter() - start)
        accuracies.append(accuracy(model, test_images, test_labels, recipe, layout))
        event = {"event": "seed", "seed": seed, "accuracy": accuracies[-1], "seconds": seconds[-1]}
        print(json.dumps(event), flush=True)
    spread = lambda values: statistics.stdev(values) if len(values) > 1 else 0.0
    mean = statistics.mean(accuracies)
    result = {
        "event": "result",
        "framework": f"torch {torch.__version__.partition('+')[0]}, eager, {options.layout}",
        "target": options.target,
        "reached": mean >= options.target,
        "seeds": options.seeds,
        "first_seed": options.first_seed,
        "accuracy_mean": mean,
        "accuracy_std": spread(accuracies),
        "accuracy_min": min(accuracies),
        "seconds_mean": statistics.mean(seconds),
        "seconds_std": spread(seconds),
        "seconds_max": max(seconds),
        "seconds_with_reading": statistics.mean(seconds) + reading,
        "threads": options.threads,
        "layers": recipe["layers"],
        "epochs": recipe["speedrun"]["shares"],
    }
    print(json.dumps(result))
    if options.out:
        command = f"benches/peers/speedrun.py --seeds {options.seeds} --threads {options.threads} --layout {options.layout}"
        del result["event"]
        append(options.out, {**circumstances(command), **result})
    sys.exit(0 if mean >= options.target else 1)


if __name__ == "__main__":
    main()
