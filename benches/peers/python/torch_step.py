"""The step in PyTorch: eager, eager in channels-last layout, or compiled."""

import torch
from torch import nn


def start(threads):
    torch.set_num_threads(threads)
    return f"PyTorch {torch.__version__}"


class Residual(nn.Module):
    def __init__(self, main, shortcut):
        super().__init__()
        self.main, self.shortcut = main, shortcut

    def forward(self, x):
        return self.main(x) + self.shortcut(x)


def build(net, variant):
    modules, around = [], []
    for (kind, *sizes), parameters in zip(net.layers, net.parameters):
        if kind == "residual":
            around.append([modules])
            modules = []
        elif kind == "shortcut":
            around[-1].append(modules)
            modules = []
        elif kind == "end":
            before, *main = around.pop()
            main, shortcut = (main[0], nn.Sequential(*modules)) if main else (modules, nn.Identity())
            modules = [*before, Residual(nn.Sequential(*main), shortcut)]
        elif kind == "conv":
            inputs, outputs, kernel, pad, stride = (*sizes, 1)[:5]
            modules.append(nn.Conv2d(inputs, outputs, kernel, padding=pad, stride=stride))
        elif kind == "batchnorm":
            modules.append(nn.BatchNorm2d(*sizes))
        elif kind == "globalavgpool":
            modules.append(nn.AdaptiveAvgPool2d(1))
        elif kind == "dense":
            modules.append(nn.Linear(*sizes))
        elif kind == "pool":
            modules.append(nn.MaxPool2d(*sizes))
        else:
            modules.append({"relu": nn.ReLU, "flatten": nn.Flatten}[kind]())
        if parameters:
            with torch.no_grad():
                modules[-1].weight.copy_(torch.tensor(parameters[0]))
                modules[-1].bias.copy_(torch.tensor(parameters[1]))
    model = nn.Sequential(*modules)
    x, labels = torch.tensor(net.x), torch.tensor(net.labels).long()
    if variant == "channels-last":
        model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    loss_of = nn.CrossEntropyLoss()
    sgd = torch.optim.SGD(model.parameters(), lr=net.rate)

    def forward():
        return loss_of(model(x), labels)

    if variant == "compile":
        torch._dynamo.reset()
        forward = torch.compile(forward)

    def step():
        sgd.zero_grad(set_to_none=True)
        loss = forward()
        loss.backward()
        sgd.step()
        return loss.detach()

    return step
