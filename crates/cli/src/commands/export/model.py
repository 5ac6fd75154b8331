"""A network trained by byhand. `from model import net`: it takes samples of SHAPE and gives logits.

Pixels (0 to 255) are PREPROCESSING. Needs torch and safetensors.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
BRANCHES
PADDED
net = nn.Sequential(
    NETWORK,
)
# Not strict: PyTorch counts the minibatches of a BatchNorm besides.
net.load_state_dict(load_file(Path(__file__).parent / "model.safetensors"), strict=False)
net.eval()

if __name__ == "__main__":
    print(net, sum(parameter.numel() for parameter in net.parameters()), "parameters, torch", torch.__version__)
