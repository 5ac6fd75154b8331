"""Makes vectors.safetensors: ten steps of each optimiser on a small network, in PyTorch in float64. `../all/golden.rs` repeats them.

    python make.py        made with Python 3.11.7, torch 2.15.0 (CPU), safetensors 0.8.0

PyTorch's conventions are byhand's: momentum without dampening (v = mu v + g, the rate outside), Adam's eps outside the bias
correction of the second moment, AdamW's decay of theta by 1 - lr * weight_decay before the step, and weight decay on weights and
biases alike.
"""

import platform
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

STEPS, BATCH, IMAGES, CLASSES = 10, 5, 13, 4
# The name is byhand's spec of the optimiser.
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "sgd(weight_decay=0.05)": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.05),
    "sgd(momentum=0.9)": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "sgd(momentum=0.9,nesterov,weight_decay=0.01)": lambda p: torch.optim.SGD(
        p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01
    ),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1),
    "adam(beta1=0.8,beta2=0.95,eps=0.001,weight_decay=0.05)": lambda p: torch.optim.Adam(
        p, lr=0.1, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.05
    ),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1),  # weight_decay 0.01 is the default of both
    "adamw(weight_decay=0.3)": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.3),
}

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.manual_seed(5)
x = torch.rand(IMAGES, 1, 7, 6) * 2 - 1
labels = torch.randint(0, CLASSES, (IMAGES,))
order = torch.stack([torch.randperm(IMAGES)[:BATCH] for _ in range(STEPS)])
net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, CLASSES))
start = [parameter.detach().clone() for parameter in net.parameters()]


def theta():
    """All parameters, flat, in byhand's order, which is that of the Sequential."""
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


vectors = {"x": x.flatten(1), "labels": labels, "order": order, "theta": theta()}
for name, make in OPTIMIZERS.items():
    for parameter, value in zip(net.parameters(), start):
        parameter.data = value.clone()
    optimizer = make(net.parameters())
    losses, thetas = [], []
    for batch in order:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x[batch]), labels[batch])
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        thetas.append(theta())
    vectors |= {f"{name}/loss": torch.stack(losses), f"{name}/theta": torch.stack(thetas)}

versions = {"python": platform.python_version(), "torch": torch.__version__, "safetensors": safetensors.__version__}
save_file(vectors, Path(__file__).with_name("vectors.safetensors"), metadata=versions)
print(versions)
