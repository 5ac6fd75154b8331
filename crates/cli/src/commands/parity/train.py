"""Trains the network of bundle.safetensors in PyTorch. Written by `byhand parity export`; needs torch and safetensors.

Writes pytorch.safetensors beside itself: `loss` of each step, and under each parameter's name its values after each step.
With --float64 everything is computed in double precision.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

folder = Path(__file__).parent
torch.set_default_dtype(torch.float64 if "--float64" in sys.argv else torch.float32)
bundle = load_file(folder / "bundle.safetensors")
x, labels = bundle["x"].to(torch.get_default_dtype()), bundle["labels"]
BRANCHES
PADDED
net = nn.Sequential(
    NETWORK,
)
# PyTorch counts the minibatches of a BatchNorm besides.
net.load_state_dict({name: bundle[name] for name in net.state_dict() if name in bundle})
criterion = LOSS
optimizer = OPTIMIZER

losses = []
weights = {name: [] for name in net.state_dict() if name in bundle}
for batch in bundle["order"]:
    optimizer.zero_grad()
    loss = criterion(net(x[batch]), labels[batch])
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
    for name in weights:
        weights[name].append(net.state_dict()[name].clone())
    print(f"step {len(losses)}  loss {losses[-1]:.6f}")

save_file(
    {"loss": torch.tensor(losses, dtype=torch.float64), **{name: torch.stack(steps) for name, steps in weights.items()}},
    folder / "pytorch.safetensors",
    metadata={"torch": torch.__version__},
)
