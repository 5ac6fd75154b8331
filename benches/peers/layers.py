"""Random convolutions and poolings, computed by PyTorch in float64 and by byhand's layers, forward and backward.

    python benches/peers/layers.py [--cases 400] [--seed 1]

needs torch and safetensors, and writes target/layers.safetensors. Prints, for each kind of layer, how many cases there were and the largest
relative difference of any number of y, dx, dw, db (relative to the larger of the expected number and the root mean square of its tensor).
What PyTorch has no module for (padding that differs by side, or is larger than half of a window) it computes on a padded copy.
"""

import argparse
import random
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[2]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(asked.seed)
    rng = random.Random(asked.seed)
    cases = {}
    while len(cases) < asked.cases:
        case = one(rng)
        if case is not None:
            cases[f"{len(cases)} {case[0]}"] = case[1]
    file = ROOT / "target" / "layers.safetensors"
    file.parent.mkdir(exist_ok=True)
    tensors = {f"{name}/{key}": t.detach().clone().contiguous() for name, case in cases.items() for key, t in case.items()}
    save_file(tensors, file, metadata={"torch": torch.__version__})
    command = ["cargo", "run", "--release", "-p", "byhand-models", "--example", "golden", "--", str(file)]
    sys.exit(subprocess.run(command, cwd=ROOT).returncode)


def one(rng):
    """A spec with its input, and what PyTorch makes of it; nothing where there is no window, or one that sees no pixel."""
    pair = lambda low, high: (rng.randint(low, high), rng.randint(low, high))
    kind = rng.choice(["conv", "conv", "pool", "avgpool"])
    size, taps, stride, dilation = pair(1, 14), pair(1, 4), pair(1, 4), rng.choice([(1, 1), pair(1, 3)])
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, taps)]
    way = rng.choice(["none", "all", "axes", "sides", "same", "same_lower"])
    top, left, bottom, right = [rng.randint(0, reach[axis] - 1) for axis in (0, 1, 0, 1)]
    if way == "none":
        top = left = bottom = right = 0
    elif way == "all":
        top = left = bottom = right = min(top, left)
    elif way == "axes":
        bottom, right = top, left
    elif way != "sides":
        totals = [max((-(-n // s) - 1) * s + r - n, 0) for n, s, r in zip(size, stride, reach)]
        small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
        (top, left), (bottom, right) = (small, large) if way == "same" else (large, small)
    pad = way if way.startswith("same") else f"{top}x{left}x{bottom}x{right}"
    ceil = kind != "conv" and rng.random() < 0.5
    outs = [count(n, b, e, r, s, ceil) for n, b, e, r, s in zip(size, (top, left), (bottom, right), reach, stride)]
    sees = [
        all(any(0 <= i * s + u * d - b < n for u in range(k)) for i in range(out))
        for n, b, s, d, k, out in zip(size, (top, left), stride, dilation, taps, outs)
    ]
    if min(outs) < 1 or not all(sees):
        return None
    # How far the windows see behind the image; negative, where they leave out some of it.
    below, beside = [
        (out - 1) * s + r - n - b for out, s, r, n, b in zip(outs, stride, reach, size, (top, left))
    ]
    around = (left, beside, top, below)
    text = lambda numbers: "x".join(map(str, numbers))
    spec = f"stride={text(stride)},pad={pad},dilation={text(dilation)}"
    groups = rng.choice([1, 1, 2, 3])
    c = rng.randint(1, 3) * (groups if kind == "conv" else 1)
    x = torch.randn(rng.choice([1, 2, 17]), c, *size, requires_grad=True)
    parameters = {}
    if kind == "conv":
        out, bias = groups * rng.randint(1, 3), rng.random() < 0.7
        w = torch.randn(out, c // groups, *taps, requires_grad=True)
        b = torch.randn(out, requires_grad=True) if bias else None
        y = F.conv2d(F.pad(x, (left, right, top, bottom)), w, b, stride, dilation=dilation, groups=groups)
        spec = f"conv({out},{text(taps)},{spec},groups={groups},bias={str(bias).lower()})"
        parameters = {"w": w} | ({"b": b} if bias else {})
    elif kind == "pool":
        y = F.max_pool2d(F.pad(x, around, value=-torch.inf), taps, stride, dilation=dilation)
        spec = f"pool({text(taps)},{spec},ceil={str(ceil).lower()})"
    else:
        counts = rng.random() < 0.5
        half = top == bottom <= taps[0] // 2 and left == right <= taps[1] // 2
        if half and dilation == (1, 1):
            y = F.avg_pool2d(x, taps, stride, (top, left), ceil, counts)
        else:
            ones = F.pad(torch.ones(1, 1, *size), (left, right, top, bottom), value=float(counts))
            rest = [far - side for far, side in zip(around, (left, right, top, bottom))]
            sums = lambda x: F.conv2d(x, torch.ones(1, 1, *taps), stride=stride, dilation=dilation)
            y = sums(F.pad(x, around).flatten(0, 1).unsqueeze(1)) / sums(F.pad(ones, rest))
            y = y.reshape(*x.shape[:2], *y.shape[2:])
        spec = f"avgpool({text(taps)},{spec},ceil={str(ceil).lower()},count_pad={str(counts).lower()})"
    assert list(y.shape[2:]) == outs, (spec, size, y.shape, outs)
    dy = torch.randn_like(y)
    y.backward(dy)
    case = {"x": x, "dy": dy, "y": y, "dx": x.grad}
    for name, parameter in parameters.items():
        case |= {name: parameter, f"d{name}": parameter.grad}
    return f"{spec} of {c}x{text(size)}", case


def count(size, before, behind, reach, stride, ceil):
    """Windows along an axis, as PyTorch's poolings count them."""
    room = size + before + behind - reach + (stride - 1 if ceil else 0)
    windows = room // stride + 1
    return windows - 1 if ceil and (windows - 1) * stride >= size + before else windows


if __name__ == "__main__":
    main()
