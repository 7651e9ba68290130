"""Faults of the graph: what the gradient cannot reach, or reaches wrongly."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam
from torch.utils.checkpoint import checkpoint

from diagnosis.data import digits, houses, recall, supervised
from diagnosis.nets import cnn, he, mlp
from diagnosis.registry import Training, fault


class Cut(nn.Module):
    """A body, an op between, and a head."""

    def __init__(self, body: nn.Module, head: nn.Module, between=lambda h: h):
        super().__init__()
        self.body, self.head, self.between = body, head, between

    def forward(self, x: Tensor) -> Tensor:
        """Head of the op of the body."""
        return self.head(self.between(self.body(x)))


def narrow(seed: int, fixed: bool, between, rate: float = 3e-3, width: int = 3) -> Training:
    """Digits through a narrow random body: the head alone cannot do it."""
    body = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, width), nn.Tanh())
    model = Cut(body, mlp(width, 10, depth=2), (lambda h: h) if fixed else between)
    optimizer = Adam(model.parameters(), rate)
    return supervised(digits(), model, optimizer, seed, judged_after=300)


@fault("graph/detach", 5, "graph-cut", "body", why="the features are detached before the head")
def detach(seed: int, fixed: bool) -> Training:
    return narrow(seed, fixed, lambda h: h.detach())


@fault("graph/numpy-trip", 5, "graph-cut", "body", why="through numpy and back")
def numpy_trip(seed: int, fixed: bool) -> Training:
    return narrow(seed, fixed, lambda h: torch.tensor(h.detach().numpy() * 1.0))


@fault("graph/no-grad-body", 5, "graph-cut", "body", why="the body runs under no_grad")
def no_grad_body(seed: int, fixed: bool) -> Training:
    class Quiet(Cut):
        def forward(self, x: Tensor) -> Tensor:
            with torch.set_grad_enabled(fixed):
                h = self.body(x)
            return self.head(h)

    body = he(nn.Sequential(*cnn(depth=3)[:6], nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    model = Quiet(body, nn.Linear(12, 10))
    task = digits(True)
    return supervised(task, model, Adam(model.parameters(), 1e-2), seed, batch=32)


@fault("graph/round", 5, "non-differentiable", "body", why="rounding without a straight-through")
def round_body(seed: int, fixed: bool) -> Training:
    return narrow(seed, fixed, lambda h: (h * 4).round() / 4)


@fault("graph/threshold", 5, "non-differentiable graph-cut", "body", why="(h > 0).float()")
def threshold(seed: int, fixed: bool) -> Training:
    return narrow(seed, fixed, lambda h: (h > 0).float(), width=4)


@fault("graph/sign", 5, "non-differentiable", "body", why="sign(h): derivative 0 everywhere")
def sign(seed: int, fixed: bool) -> Training:
    return narrow(seed, fixed, torch.sign, width=4)


@fault(
    "graph/data-in-place",
    5,
    "graph-cut non-differentiable numerics activation-derivative",
    "body",
    why="h.data.sign_() rewrites what tanh saved: its derivative 1 - h**2 is 0",
)
def data_in_place(seed: int, fixed: bool) -> Training:
    def between(h: Tensor) -> Tensor:
        h.data.sign_()
        return h

    return narrow(seed, fixed, between, width=4)


@fault(
    "graph/hard-choice",
    5,
    "non-differentiable graph-cut",
    "router",
    why="experts chosen by argmax without a gate weight: the router never learns",
)
def hard_choice(seed: int, fixed: bool) -> Training:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.router = nn.Linear(64, 10)
            self.prototypes = nn.Parameter(torch.randn(10, 10))

        def forward(self, x: Tensor) -> Tensor:
            gate = self.router(x).softmax(-1)
            if not fixed:
                gate = F.one_hot(gate.argmax(-1), 10).float()
            return gate @ self.prototypes * 3

    model = Experts()
    return supervised(digits(), model, Adam(model.parameters(), 1e-2), seed, judged_after=400)


@fault(
    "graph/long-index",
    5,
    "non-differentiable graph-cut",
    "scale",
    why="a learnt code is cast to long for a table",
)
def long_index(seed: int, fixed: bool) -> Training:
    class Coded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.table = nn.Linear(8, 1), nn.Embedding(8, 16)
            self.head, self.wide = nn.Linear(16, 1), nn.Linear(1, 16)

        def forward(self, x: Tensor) -> Tensor:
            code = torch.sigmoid(self.scale(x))
            if fixed:
                return self.head(torch.tanh(self.wide(code * 8 - 4)))
            return self.head(self.table((code * 7.99).long().squeeze(-1)))

    model = Coded()
    return supervised(houses(), model, Adam(model.parameters(), 1e-2), seed)


@fault(
    "graph/reentrant-checkpoint",
    5,
    "graph-cut",
    "body",
    why="reentrant checkpoint on an input that needs no gradient",
)
def reentrant(seed: int, fixed: bool) -> Training:
    class Saved(Cut):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(checkpoint(self.body, x, use_reentrant=not fixed))

    body = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3), nn.Tanh())
    model = Saved(body, mlp(3, 10, depth=2))
    optimizer = Adam(model.parameters(), 3e-3)
    return supervised(digits(), model, optimizer, seed, judged_after=300)


@fault(
    "graph/state-detached",
    5,
    "graph-cut recurrence",
    "core",
    why="the state is detached at every step: no gradient through time",
)
def state_detached(seed: int, fixed: bool) -> Training:
    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.core = nn.Embedding(4, 16), nn.LSTMCell(16, 24)
            self.head = nn.Linear(24, 4)
            self.core.bias_ih.data[24:48] = 2.0

        def forward(self, tokens: Tensor) -> Tensor:
            h = c = torch.zeros(len(tokens), 24)
            for x in self.embedding(tokens).unbind(1):
                h, c = self.core(x, (h, c) if fixed else (h.detach(), c.detach()))
            return self.head(h)

    model = Steps()
    return supervised(recall(10), model, Adam(model.parameters(), 1e-2), seed)


@fault(
    "graph/gan-detached",
    5,
    "graph-cut",
    "generator",
    why="the generator's loss reads the detached fake",
)
def gan_detached(seed: int, fixed: bool) -> Training:
    from diagnosis.healthy.generative import gan_training

    return gan_training(seed, detached=not fixed)
