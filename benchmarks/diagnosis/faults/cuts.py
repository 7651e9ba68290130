"""Faults of the graph that raise nothing: hooks, own functions, weights made anew or held back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from diagnosis.data import digits, supervised
from diagnosis.faults.graph import narrow
from diagnosis.nets import mlp
from diagnosis.registry import Training, fault


@fault("cuts/parameter-hooks", 5, "graph-cut frozen", "body", why="masks of zeros on the body")
def parameter_hooks(seed: int, fixed: bool) -> Training:
    training = narrow(seed, True, None)
    if not fixed:
        for parameter in training.model.get_submodule("body").parameters():
            parameter.register_hook(torch.zeros_like)
    return training


class Silent(torch.autograd.Function):
    """A clamp whose backward was never written."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        """Clamp to [-1, 1]."""
        return x.clamp(-1, 1)

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        """Zeros."""
        return torch.zeros_like(gradients[0])


@fault("cuts/own-function", 5, "non-differentiable graph-cut", "body", why="backward returns zeros")
def own_function(seed: int, fixed: bool) -> Training:
    return narrow(seed, fixed, Silent.apply)


@fault("cuts/layer-in-forward", 5, "graph-cut", why="a layer is built anew in every forward pass")
def layer_in_forward(seed: int, fixed: bool) -> Training:
    class Built(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.mid = nn.Linear(64, 32), nn.Linear(32, 32)
            self.head = nn.Linear(32, 10)

        def forward(self, x: Tensor) -> Tensor:
            layer = self.mid if fixed else nn.Linear(32, 32)
            return self.head(torch.relu(layer(torch.relu(self.enter(x)))))

    model = Built()
    return supervised(digits(), model, Adam(model.parameters(), 5e-3), seed, judged_after=300)


@fault("cuts/parameter-in-forward", 5, "graph-cut", why="nn.Parameter(2 * weight) cuts the weight")
def parameter_in_forward(seed: int, fixed: bool) -> Training:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.rest = nn.Linear(64, 3), mlp(3, 10, depth=2)

        def forward(self, x: Tensor) -> Tensor:
            weight = self.enter.weight * 2
            weight = weight if fixed else nn.Parameter(weight)
            return self.rest(torch.tanh(F.linear(x, weight, self.enter.bias)))

    model = Wrapped()
    return supervised(digits(), model, Adam(model.parameters(), 3e-3), seed, judged_after=400)


@fault(
    "cuts/plain-tensor",
    5,
    "frozen graph-cut optimizer-state",
    why="the weight is a tensor that is neither a parameter nor a buffer",
)
def plain_tensor(seed: int, fixed: bool) -> Training:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            weight = torch.randn(64, 3) * 0.1
            self.weight = nn.Parameter(weight) if fixed else weight
            self.rest = mlp(3, 10, depth=2)

        def forward(self, x: Tensor) -> Tensor:
            return self.rest(torch.tanh(x @ self.weight))

    model = Plain()
    return supervised(digits(), model, Adam(model.parameters(), 5e-3), seed, judged_after=400)


@fault("cuts/frozen-by-the-loop", 5, "frozen", "body", why="requires_grad goes off after a step")
def frozen_by_the_loop(seed: int, fixed: bool) -> Training:
    training = narrow(seed, True, None)
    step = training.step

    def train_step(model: nn.Module, optimizer: Optimizer) -> Tensor:
        optimizer.zero_grad()
        loss = step(model)
        loss.backward()
        optimizer.step()
        model.get_submodule("body").requires_grad_(fixed)
        return loss.detach()

    training.train_step = train_step
    return training
