"""Makes vectors.safetensors: layers and losses as PyTorch computes them in float64. `../all/golden.rs` holds ours against them.

    python make.py        made with Python 3.11.7, torch 2.15.0 (CPU), safetensors 0.8.0

A case is named as `../all/golden.rs` names its layer: the layer's spec, and its input's shape. Its tensors are the input x, the
upstream gradient dy, the parameters w and b, and what PyTorch makes of them: y, dx, dw, db. Where PyTorch's convention differs
from byhand's, a line here says how the one becomes the other.
"""

import platform
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.manual_seed(20)
vectors = {}


def layer(name, module, shape, x=None, samples=2):
    """A case of a layer: x and dy have both signs; dy is random and never ones, which would hide a transposed gradient."""
    case = f"{name} of {'x'.join(map(str, shape))}"
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -1, 1)
    x = torch.rand(samples, *shape) * 4 - 2 if x is None else x
    x.requires_grad_()
    y = module(x)
    dy = torch.rand_like(y) * 2 - 1
    y.backward(dy)
    tensors = {"x": x, "dy": dy, "y": y, "dx": x.grad}
    for short, parameter in zip(("w", "b"), module.parameters()):
        tensors |= {short: parameter, f"d{short}": parameter.grad}
    vectors.update({f"{case}/{key}": tensor.detach().contiguous() for key, tensor in tensors.items()})


def loss(name, classes, value, target):
    """A case of a loss: mean over the samples, and its gradient with respect to the network's outputs."""
    case = f"{name} of {classes}"
    y = (torch.rand(len(target), classes) * 10 - 5).requires_grad_()
    mean = value(y, target)
    mean.backward()
    tensors = {"y": y, "target": target, "loss": mean, "dy": y.grad}
    vectors.update({f"{case}/{key}": tensor.detach().contiguous() for key, tensor in tensors.items()})


# Convolutions are cross-correlations in both. Weights: [out, in, rows, columns].
layer("conv(3,3)", nn.Conv2d(1, 3, 3), (1, 6, 6))
layer("conv(4,3,pad=1)", nn.Conv2d(2, 4, 3, padding=1), (2, 5, 7))
layer("conv(2,3x2,stride=2x1,pad=1x0)", nn.Conv2d(3, 2, (3, 2), stride=(2, 1), padding=(1, 0)), (3, 7, 5))
layer("conv(2,2x3,stride=3x2,pad=1x2)", nn.Conv2d(2, 2, (2, 3), stride=(3, 2), padding=(1, 2)), (2, 9, 6))
layer("conv(2,5,bias=false)", nn.Conv2d(2, 2, 5, bias=False), (2, 8, 6))
layer("conv(17,1)", nn.Conv2d(3, 17, 1), (3, 2, 3))

# Max-pooling. Ties: on the CPU PyTorch gives the whole gradient to the first maximum in row order, as byhand does; the flat
# image is one great tie.
layer("pool(2)", nn.MaxPool2d(2), (2, 6, 4))
layer("pool(2)", nn.MaxPool2d(2), (1, 5, 7))
layer("pool(3,stride=2x1)", nn.MaxPool2d(3, stride=(2, 1)), (2, 7, 6))
layer("pool(2x3,stride=1x2)", nn.MaxPool2d((2, 3), stride=(1, 2)), (1, 5, 8))
layer("pool(2)", nn.MaxPool2d(2), (3, 4, 4), torch.full((2, 3, 4, 4), 0.25))
layer("pool(3,stride=2)", nn.MaxPool2d(3, stride=2), (1, 7, 9), torch.zeros(2, 1, 7, 9))

layer("avgpool(2)", nn.AvgPool2d(2), (2, 6, 4))
layer("avgpool(3x2)", nn.AvgPool2d((3, 2)), (2, 7, 5))
layer("avgpool(3,stride=2x1)", nn.AvgPool2d(3, stride=(2, 1)), (1, 7, 6))

# Dense weights: [out, in], y = w x + b.
layer("dense(5)", nn.Linear(7, 5), (7,))
layer("dense(20)", nn.Linear(18, 20), (18,))
layer("dense(4,bias=false)", nn.Linear(33, 4, bias=False), (33,))

# More samples than one tile has.
layer("conv(2,2)", nn.Conv2d(1, 2, 2), (1, 3, 4), samples=18)
layer("dense(3)", nn.Linear(4, 3), (4,), samples=18)

# ReLU'(0) is 0 in both: every fourth x is 0.
x = torch.rand(2, 2, 3, 4) * 4 - 2
x.view(-1)[::4] = 0
layer("relu", nn.ReLU(), (2, 3, 4), x)
layer("tanh", nn.Tanh(), (2, 3, 4))
layer("sigmoid", nn.Sigmoid(), (2, 3, 4))
layer("tanh", nn.Tanh(), (3, 5, 2), torch.rand(2, 3, 5, 2) * 60 - 30)
layer("sigmoid", nn.Sigmoid(), (3, 5, 2), torch.rand(2, 3, 5, 2) * 60 - 30)

# byhand sums the losses of the samples and scales the gradient as it is told; PyTorch's mean is that sum over N, the scale 1/N.
labels = torch.tensor([4, 0, 2])
one_hot = F.one_hot(labels, 5).double()
mixed = torch.rand(3, 5)
mixed /= mixed.sum(1, keepdim=True)
loss("cross-entropy", 5, F.cross_entropy, labels)
loss("cross-entropy, smoothing 0.1", 5, lambda y, t: F.cross_entropy(y, t, label_smoothing=0.1), labels)
loss("cross-entropy", 10, F.cross_entropy, torch.tensor([9, 9, 3]))
loss("cross-entropy on rows", 5, F.cross_entropy, one_hot)
loss("cross-entropy on rows, smoothing 0.1", 5, lambda y, t: F.cross_entropy(y, t, label_smoothing=0.1), mixed)
# byhand's squared error is half the sum over the classes; PyTorch's `mse_loss` is the mean over classes and has no half.
loss("squared error on rows", 5, lambda y, t: F.mse_loss(y, t) * 5 / 2, one_hot)

# Later cases stand last, so that the random numbers of the earlier ones stay.
x = torch.rand(2, 2, 3, 4) * 4 - 2
x.view(-1)[::4] = 0
layer("leaky_relu", nn.LeakyReLU(0.01), (2, 3, 4), x)
layer("leaky_relu(slope=0.2)", nn.LeakyReLU(0.2), (3, 5, 2))

# byhand's plain GELU is the one with tanh. Global pooling is adaptive pooling to one pixel.
layer("gelu", nn.GELU(approximate="tanh"), (3, 5, 2))
layer("silu", nn.SiLU(), (3, 5, 2))
layer("globalavgpool", nn.AdaptiveAvgPool2d(1), (3, 5, 2))
layer("globalmaxpool", nn.AdaptiveMaxPool2d(1), (3, 5, 2))

# Of new modules, which train: with the statistics of the minibatch.
layer("batchnorm", nn.BatchNorm2d(3), (3, 5, 2), samples=5)
layer("batchnorm(eps=0.001)", nn.BatchNorm1d(7, eps=0.001), (7,), samples=18)



def padded(module, left, right, top, bottom, value=0.0):
    """The module behind a padding that PyTorch's own modules do not have."""
    return nn.Sequential(nn.ConstantPad2d((left, right, top, bottom), value), module)


# Padding of all sides, rounded up, with gaps between taps. PyTorch allows half a window of padding; byhand, as ONNX, less than a window.
layer("pool(3,stride=2,pad=1)", nn.MaxPool2d(3, 2, 1), (2, 7, 6), torch.rand(2, 2, 7, 6) - 2)
layer("pool(3,stride=2,pad=1,ceil=true)", nn.MaxPool2d(3, 2, 1, ceil_mode=True), (1, 6, 8))
layer("pool(2,stride=3,ceil=true)", nn.MaxPool2d(2, 3, ceil_mode=True), (1, 5, 7))
layer("pool(3x2,stride=1,pad=1,dilation=2x3)", nn.MaxPool2d((3, 2), 1, 1, dilation=(2, 3)), (2, 5, 6))
layer("pool(3,stride=2x1,pad=2x0x1x2)", padded(nn.MaxPool2d(3, (2, 1)), 0, 2, 2, 1, -torch.inf), (2, 5, 4))
layer("pool(2,stride=1,pad=same)", padded(nn.MaxPool2d(2, 1), 0, 1, 0, 1, -torch.inf), (2, 4, 5))
layer("pool(2,stride=1,pad=same_lower)", padded(nn.MaxPool2d(2, 1), 1, 0, 1, 0, -torch.inf), (2, 4, 5))

layer("avgpool(3,stride=2,pad=1)", nn.AvgPool2d(3, 2, 1), (2, 7, 6))
layer("avgpool(3,stride=2,pad=1,count_pad=false)", nn.AvgPool2d(3, 2, 1, count_include_pad=False), (2, 7, 6))
layer("avgpool(3,stride=2,pad=1,ceil=true)", nn.AvgPool2d(3, 2, 1, ceil_mode=True), (1, 6, 8))
layer(
    "avgpool(3x2,stride=2x3,pad=1,ceil=true,count_pad=false)",
    nn.AvgPool2d((3, 2), (2, 3), 1, ceil_mode=True, count_include_pad=False),
    (1, 6, 9),
)
layer("avgpool(3,pad=1,ceil=true)", nn.AvgPool2d(3, 3, 1, ceil_mode=True), (3, 2, 2))
layer("avgpool(3,stride=2x1,pad=2x0x1x2)", padded(nn.AvgPool2d(3, (2, 1)), 0, 2, 2, 1), (2, 5, 4))

layer("conv(3,3,pad=same,dilation=2)", nn.Conv2d(2, 3, 3, padding="same", dilation=2), (2, 6, 5))
layer("conv(2,2x4,pad=same,bias=false)", nn.Conv2d(2, 2, (2, 4), padding="same", bias=False), (2, 5, 7))
layer(
    "conv(2,3x2,stride=2x3,pad=2x1,dilation=2x3)",
    nn.Conv2d(2, 2, (3, 2), (2, 3), (2, 1), (2, 3)),
    (2, 8, 9),
)
layer("conv(6,3,pad=1,groups=2)", nn.Conv2d(4, 6, 3, padding=1, groups=2), (4, 5, 4))
layer("conv(8,3,stride=2,groups=4)", nn.Conv2d(4, 8, 3, 2, groups=4), (4, 7, 6))
layer("conv(3,2,dilation=2x1,groups=3)", nn.Conv2d(3, 3, 2, dilation=(2, 1), groups=3), (3, 6, 4), samples=18)
layer("conv(2,3,stride=2,pad=0x1x2x0)", padded(nn.Conv2d(1, 2, 3, 2), 1, 0, 0, 2), (1, 6, 6))

layer("log_softmax", nn.LogSoftmax(1), (7,), samples=5)

# A mean with weights is divided by the sum of the weights of the labels that count; of rows by their number.
weights = torch.tensor([0.5, 2.0, 0.0, 1.25, 3.0])
ignoring = torch.tensor([4, 0, 9, 2, 9, 1])
loss("cross-entropy, weights", 5, lambda y, t: F.cross_entropy(y, t, weights), labels)
loss(
    "cross-entropy, weights, smoothing 0.2, 9 ignored",
    5,
    lambda y, t: F.cross_entropy(y, t, weights, ignore_index=9, label_smoothing=0.2),
    ignoring,
)
loss("cross-entropy, smoothing 0.2, 9 ignored", 5, lambda y, t: F.cross_entropy(y, t, ignore_index=9, label_smoothing=0.2), ignoring)
loss("cross-entropy on rows, weights, smoothing 0.2", 5, lambda y, t: F.cross_entropy(y, t, weights, label_smoothing=0.2), mixed)
loss("negative log-likelihood, weights, 9 ignored", 5, lambda y, t: F.nll_loss(y, t, weights, ignore_index=9), ignoring)
loss("negative log-likelihood", 5, F.nll_loss, labels)

layer("gelu(exact=true)", nn.GELU(), (3, 5, 2), torch.rand(2, 3, 5, 2) * 12 - 6)

versions = {"python": platform.python_version(), "torch": torch.__version__, "safetensors": safetensors.__version__}
# safetensors' tensors must not share memory: two cases may have the same labels.
vectors = {name: tensor.clone() for name, tensor in vectors.items()}
save_file(vectors, Path(__file__).with_name("vectors.safetensors"), metadata=versions)
print(versions)
