"""Random layers, losses and trainings, computed by PyTorch in float64 and by byhand, forward and backward.

    python benches/peers/layers.py [--cases 400] [--seed 1] [--program target/release/examples/golden]

needs torch and safetensors, and writes target/layers.safetensors. Prints, for each kind, how many cases there were and the largest relative
difference of any number that comes out (relative to the larger of the expected number and the root mean square of its tensor): outputs and
all gradients of layers, running statistics after three minibatches, losses and their gradients, losses and weights of ten steps. Half of the
cases are convolutions and poolings. What PyTorch has no module for (padding that differs by side, or is larger than half of a window) it
computes on a padded copy. Decoupled weight decay that spares biases, clipping and the moving average are the trainer's, which computes in
float32.
"""

import argparse
import copy
import random
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from python.torch_step import Residual

ROOT = Path(__file__).resolve().parents[2]
STEPS = 10


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--program", help="the example golden of byhand-benches, if it is built")
    asked = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    torch.manual_seed(asked.seed)
    rng = random.Random(asked.seed)
    makers = [window, window, window, window, layer, branches, loss, steps]
    cases = {}
    while len(cases) < asked.cases:
        case = makers[len(cases) % len(makers)](rng)
        if case is not None:
            cases[f"{len(cases)} {case[0]}"] = case[1]
    file = ROOT / "target" / "layers.safetensors"
    file.parent.mkdir(exist_ok=True)
    tensors = {f"{name}/{key}": t.detach().clone().double() for name, case in cases.items() for key, t in case.items()}
    save_file({name: t.contiguous() for name, t in tensors.items()}, file, metadata={"torch": torch.__version__})
    build = ["cargo", "run", "--release", "-p", "byhand-benches", "--example", "golden", "--"]
    command = [asked.program] if asked.program else build
    sys.exit(subprocess.run([*command, str(file)], cwd=ROOT).returncode)


class Concat(nn.ModuleList):
    def forward(self, x):
        return torch.cat([branch(x) for branch in self], 1)


def theta(module, of=lambda tensor: tensor):
    """All tensors in byhand's order, which is PyTorch's; it counts the minibatches of a BatchNorm besides."""
    tensors = module.state_dict(keep_vars=True).items()
    parts = [of(tensor).flatten() for name, tensor in tensors if not name.endswith("num_batches_tracked")]
    return torch.cat(parts).detach() if parts else torch.zeros(0)


def gradient(tensor):
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad


def start(module):
    """Random weights, and running statistics as of some other data."""
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -1, 1)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            nn.init.uniform_(buffer, -1, 1)
        if name.endswith("running_var"):
            nn.init.uniform_(buffer, 0.5, 2)


def module_case(spec, module, x):
    """A case of a module as it computes in training."""
    start(module)
    size = "x".join(map(str, x.shape[1:] if x.ndim == 4 else (x.shape[1], 1, 1)))
    case = {"x": x, "theta": theta(module)}
    if any(name.endswith("running_mean") for name, _ in module.named_buffers()):
        later, batches = copy.deepcopy(module), torch.randn(3, *x.shape)
        for batch in batches:
            later(batch)
        case |= {"batches": batches, "after": theta(later)}
    x.requires_grad_()
    y = module(x)
    dy = torch.randn_like(y)
    y.backward(dy)
    return f"{spec} of {size}", case | {"y": y, "dy": dy, "dx": x.grad, "dtheta": theta(module, gradient)}


def layer(rng):
    """A layer that is no convolution and no pooling with windows."""
    # Of a normalisation over two or three numbers, what is left of the gradient is little more than rounding.
    n, c, h, w = rng.choice([5, 17, 33]), rng.randint(1, 9), rng.randint(1, 7), rng.randint(1, 7)
    image, row = torch.randn(n, c, h, w) * 3, torch.randn(n, c) * 3
    out, bias, slope, momentum = rng.randint(1, 40), rng.random() < 0.5, rng.random(), rng.choice([0.1, 0.03, 0.5])
    norm = dict(eps=10 ** -rng.uniform(1, 5), momentum=momentum)
    options = ",".join(f"{name}={value}" for name, value in norm.items())
    return module_case(
        *rng.choice(
            [
                (f"dense({out},bias={str(bias).lower()})", nn.Linear(c, out, bias), row),
                (f"batchnorm({options})", nn.BatchNorm2d(c, **norm), image),
                (f"batchnorm({options})", nn.BatchNorm1d(c, **norm), row),
                ("relu", nn.ReLU(), image),
                (f"leaky_relu(slope={slope})", nn.LeakyReLU(slope), image),
                ("gelu", nn.GELU("tanh"), image),
                ("silu", nn.SiLU(), image),
                ("tanh", nn.Tanh(), image),
                ("sigmoid", nn.Sigmoid(), image),
                ("log_softmax", nn.LogSoftmax(1), row * 10),
                ("globalavgpool", nn.AdaptiveAvgPool2d(1), image),
                ("globalmaxpool", nn.AdaptiveMaxPool2d(1), image),
            ]
        )
    )


def branches(rng):
    """Branches that are added or put one below the other."""
    n, c, h, w, k = rng.choice([5, 17]), rng.randint(2, 5), rng.randint(3, 8), rng.randint(3, 8), rng.randint(1, 6)
    conv = lambda c, k, size, stride=1: nn.Conv2d(c, k, size, stride, size // 2)
    block = nn.Sequential(conv(c, c, 3), nn.BatchNorm2d(c), nn.ReLU(), conv(c, c, 3), nn.BatchNorm2d(c))
    down = nn.Sequential(conv(c, k, 3, 2), nn.BatchNorm2d(k), nn.SiLU()), nn.Sequential(conv(c, k, 1, 2), nn.BatchNorm2d(k))
    nothing = nn.Sequential()
    four = [nn.Sequential(conv(c, k, 1), nn.ReLU()), nn.Sequential(conv(c, 2, 3), nn.GELU("tanh")), nn.MaxPool2d(3, 1, 1), nothing]
    inner = Residual(nn.Sequential(conv(c, c, 3), nn.Tanh()), nothing)
    spec, module = rng.choice(
        [
            (f"residual(conv({c},3,pad=1) batchnorm relu conv({c},3,pad=1) batchnorm)", Residual(block, nothing)),
            (f"residual(conv({k},3,stride=2,pad=1) batchnorm silu | conv({k},1,stride=2) batchnorm)", Residual(*down)),
            (f"concat(conv({k},1) relu | conv(2,3,pad=1) gelu | pool(3,stride=1,pad=1) | linear)", Concat(four)),
            (f"concat(linear | residual(conv({c},3,pad=1) tanh))", Concat([nothing, nn.Sequential(inner)])),
        ]
    )
    return module_case(spec, module, torch.randn(n, c, h, w))


def loss(rng):
    """A loss over labels, some of them ignored, or over rows."""
    n, classes = rng.randint(1, 40), rng.randint(2, 12)
    y = (torch.randn(n, classes) * 5).requires_grad_()
    weights = torch.rand(classes) + 0.1 if rng.random() < 0.5 else None
    case = {} if weights is None else {"weights": weights}
    kind = rng.choice(["cross-entropy", "cross-entropy on rows", "negative log-likelihood", "squared error"])
    smoothing = rng.choice([0.0, 0.1, rng.random()])
    labels = torch.randint(0, classes, (n,))
    words = f"loss={kind}"
    if kind == "squared error":
        target = torch.randn(n, classes)
        value, case = 0.5 * ((y - target) ** 2).sum(1).mean(), {}
    elif kind == "cross-entropy on rows":
        target = torch.rand(n, classes) ** 3
        target = target / target.sum(1, keepdim=True)
        value = F.cross_entropy(y, target, weights, label_smoothing=smoothing)
        words = f"loss=cross-entropy,smoothing={smoothing}"
    else:
        # A label that is a class, or none.
        ignored = rng.choice([None, rng.randrange(classes), 60_000])
        if ignored == 60_000:
            labels[torch.rand(n) < 0.3] = ignored
        if ignored is not None and (labels == ignored).all():
            return None
        target, options = labels, {} if ignored is None else {"ignore_index": ignored}
        words += "" if ignored is None else f",ignore={ignored}"
        if kind == "cross-entropy":
            value = F.cross_entropy(y, target, weights, label_smoothing=smoothing, **options)
            words += f",smoothing={smoothing}"
        else:
            value = F.nll_loss(y, target, weights, **options)
    value.backward()
    return f"{words} of {classes}", case | {"y": y, "target": target, "loss": value[None], "dy": y.grad}


def steps(rng):
    """Ten steps of a network; on the trainer's own settings one that is smooth, since it computes in float32."""
    n, (h, w), classes, single = rng.randint(2, 20), (rng.randint(5, 9), rng.randint(5, 9)), 4, rng.random() < 0.4
    conv = lambda c, k, bias=True: nn.Conv2d(c, k, 3, padding=1, bias=bias)
    head = lambda features: [nn.Flatten(), nn.Linear(features, classes)]
    residual = Residual(nn.Sequential(conv(3, 3, False), nn.BatchNorm2d(3), nn.SiLU()), nn.Sequential())
    smooth = [
        ("conv(3,3,pad=1) tanh avgpool(2) dense(4)", [conv(1, 3), nn.Tanh(), nn.AvgPool2d(2), *head(3 * (h // 2) * (w // 2))]),
        (
            "conv(3,3,pad=1,bias=false) batchnorm gelu residual(conv(3,3,pad=1,bias=false) batchnorm silu) globalavgpool dense(4)",
            [conv(1, 3, False), nn.BatchNorm2d(3), nn.GELU("tanh"), residual, nn.AdaptiveAvgPool2d(1), *head(3)],
        ),
    ]
    # No bias before a batch normalisation: its gradient is nothing but rounding, and Adam would make a step of full length of it.
    others = [
        (
            "conv(3,3,pad=1,bias=false) batchnorm relu pool(2) dense(4)",
            [conv(1, 3, False), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), *head(3 * (h // 2) * (w // 2))],
        ),
        (
            "dense(9,bias=false) batchnorm leaky_relu dense(4)",
            [nn.Flatten(), nn.Linear(h * w, 9, False), nn.BatchNorm1d(9), nn.LeakyReLU(), *head(9)[1:]],
        ),
    ]
    spec, modules = rng.choice(smooth if single else smooth + others)
    net = nn.Sequential(*modules)
    rate, decay = rng.uniform(0.01, 0.1), rng.choice([0.0, 0.03])
    momentum, nesterov = rng.choice([(0.0, False), (0.9, False), (0.8, True)])
    betas, eps = (rng.uniform(0.5, 0.95), rng.uniform(0.9, 0.999)), 1e-2 if single else rng.choice([1e-8, 1e-3])
    sgd = f"sgd(momentum={momentum}{',nesterov' if nesterov else ''},weight_decay={decay})"
    adam = f"(beta1={betas[0]},beta2={betas[1]},eps={eps},weight_decay={decay})"
    name, optimizer = rng.choice(
        [
            (sgd, torch.optim.SGD(net.parameters(), rate, momentum, nesterov=nesterov, weight_decay=decay)),
            ("adam" + adam, torch.optim.Adam(net.parameters(), rate, betas, eps, decay)),
            ("adamw" + adam, torch.optim.AdamW(net.parameters(), rate, betas, eps, decay)),
        ]
    )
    smoothing = rng.choice([0.0, 0.1])
    words = f"steps={name} lr={rate} smoothing={smoothing}"
    spared, clip, ema = 0.0, None, None
    if single:
        spared, clip, ema = rng.choice([0.0, 0.05]), rng.choice([None, 0.3]), rng.choice([None, 0.3, 0.95])
        if not (spared or clip or ema):
            return None
        words += f" decay={spared}" + (f" clip={clip}" if clip else "") + (f" ema={ema}" if ema else "")
    start(net)
    x, labels = torch.randn(STEPS, n, 1, h, w), torch.randint(0, classes, (STEPS, n))
    case, losses, thetas = {"x": x, "labels": labels, "theta": theta(net)}, [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        value = F.cross_entropy(net(x[step]), labels[step], label_smoothing=smoothing)
        value.backward()
        if clip:
            nn.utils.clip_grad_norm_(net.parameters(), clip)
        with torch.no_grad():
            for parameter in net.parameters():
                if parameter.ndim > 1:
                    parameter *= 1 - rate * spared
        optimizer.step()
        losses.append(value)
        kept = min(ema or 0.0, step / (step + 10))
        thetas.append(theta(net) if step == 0 else kept * thetas[-1] + (1 - kept) * theta(net))
    return f"{words} of 1x{h}x{w} {spec}", case | {"loss": torch.stack(losses), "thetas": torch.stack(thetas)}


def window(rng):
    """A convolution or a pooling with its input, and what PyTorch makes of it; nothing where there is no window, or one that sees no pixel."""
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
    parameters = []
    if kind == "conv":
        out, bias = groups * rng.randint(1, 3), rng.random() < 0.7
        w = torch.randn(out, c // groups, *taps, requires_grad=True)
        b = torch.randn(out, requires_grad=True) if bias else None
        y = F.conv2d(F.pad(x, (left, right, top, bottom)), w, b, stride, dilation=dilation, groups=groups)
        spec = f"conv({out},{text(taps)},{spec},groups={groups},bias={str(bias).lower()})"
        parameters = [w, b] if bias else [w]
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
    flat = lambda tensors: torch.cat([torch.zeros(0), *(tensor.flatten() for tensor in tensors)])
    case = {"x": x, "dy": dy, "y": y, "dx": x.grad, "theta": flat(parameters), "dtheta": flat(p.grad for p in parameters)}
    return f"{spec} of {c}x{text(size)}", case


def count(size, before, behind, reach, stride, ceil):
    """Windows along an axis, as PyTorch's poolings count them."""
    room = size + before + behind - reach + (stride - 1 if ceil else 0)
    windows = room // stride + 1
    return windows - 1 if ceil and (windows - 1) * stride >= size + before else windows


if __name__ == "__main__":
    main()
