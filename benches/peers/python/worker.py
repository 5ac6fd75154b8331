"""One Python peer in one process: `worker.py PEER THREADS`. Reads requests from stdin, answers each with a line of JSON.

    open BATCH RATE STEPS FILE C H W LAYERS...    build the network, take its first steps: {"losses": [...]}
    time SECONDS                                  take steps for so long: {"median_us": ..., "min_us": ..., "steps": ...}

LAYERS are words: conv IN OUT KERNEL PAD [STRIDE], pool K, relu, flatten, dense IN OUT, batchnorm CHANNELS, globalavgpool; residual,
shortcut and end around the layers of a residual block and of its shortcut. FILE holds little-endian numbers of four bytes: weights and
biases of each layer as PyTorch lays them out, the images, and the labels (integers).
The first line of output says which version of what answers.
"""

import dataclasses
import importlib
import json
import sys
import time

import numpy as np


@dataclasses.dataclass
class Net:
    rate: float
    layers: list  # (kind, size, ...)
    parameters: list  # one a layer: (weight, bias) or None
    x: np.ndarray  # [batch, channels, rows, columns], or [batch, features] when the first layer is dense
    labels: np.ndarray  # [batch]


def read(words):
    """The network that the words of an `open` request name, and how many first steps it asks for."""
    batch, rate, steps, file, *shape = words[:7]
    batch, shape, layers = int(batch), tuple(map(int, shape)), []
    for word in words[7:]:
        layers[-1].append(int(word)) if word.isdigit() else layers.append([word])
    values, at = np.fromfile(file, "<f4"), 0

    def take(*sizes):
        nonlocal at
        start, at = at, at + int(np.prod(sizes))
        return values[start:at].reshape(sizes)

    parameters = []
    for kind, *sizes in layers:
        if kind == "conv":
            inputs, outputs, kernel = sizes[:3]
            parameters.append((take(outputs, inputs, kernel, kernel), take(outputs)))
        elif kind == "dense":
            inputs, outputs = sizes
            parameters.append((take(outputs, inputs), take(outputs)))
        elif kind == "batchnorm":
            parameters.append((take(*sizes), take(*sizes)))
        else:
            parameters.append(None)
    x = take(batch, int(np.prod(shape))) if layers[0][0] == "dense" else take(batch, *shape)
    return Net(float(rate), layers, parameters, x, take(batch).view("<i4")), int(steps)


def take_steps(step, seconds):
    """Times of single steps; at least three, unless they take too long."""
    times, began = [], time.perf_counter()
    while (lasted := time.perf_counter() - began) < seconds or (len(times) < 3 and lasted < 5 * seconds):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    times.sort()
    return {"median_us": times[len(times) // 2] * 1e6, "min_us": times[0] * 1e6, "steps": len(times)}


def main():
    peer, threads = sys.argv[1], int(sys.argv[2])
    framework, _, variant = peer.partition("-")
    answers = sys.stdout
    sys.stdout = sys.stderr  # what the frameworks print is no answer
    module = importlib.import_module(f"{framework}_step")
    version = module.start(threads)
    print(json.dumps({"version": version}), file=answers, flush=True)
    step = None
    for line in sys.stdin:
        request, *words = line.split()
        if request == "open":
            step = None  # frees the network before
            net, steps = read(words)
            step = module.build(net, variant)
            answer = {"losses": [float(step()) for _ in range(steps)]}
        else:
            answer = take_steps(step, float(words[0]))
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
