"""Faults of loops that set the rate, the sign or the data of each step themselves."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from diagnosis.data import digits, houses, supervised, wine
from diagnosis.loops import loop
from diagnosis.nets import cnn, he, mlp
from diagnosis.registry import Training, fault


@fault("own-loop/rate-set-low", 3, "learning-rate", why="the loop sets a rate of 1e-6 at each step")
def rate_set_low(seed: int, fixed: bool) -> Training:
    model = he(mlp(64, 10, depth=3))
    training = supervised(digits(), model, SGD(model.parameters(), 0.1), seed)
    training.train_step = loop(training.step, schedule=lambda _: 1.0, rate=0.1 if fixed else 1e-6)
    return training


@fault("own-loop/rate-zero", 3, "learning-rate", why="the factor of a schedule is 0")
def rate_zero(seed: int, fixed: bool) -> Training:
    model = cnn(depth=3)
    training = supervised(digits(True), model, Adam(model.parameters(), 3e-3), seed)
    training.train_step = loop(training.step, schedule=lambda _: float(fixed), rate=3e-3)
    return training


@fault("own-loop/rate-low-houses", 3, "learning-rate", why="SGD at 1e-4: a thousand times too slow")
def rate_low_houses(seed: int, fixed: bool) -> Training:
    model = mlp(8, 1, depth=3)
    return supervised(houses(), model, SGD(model.parameters(), 0.1 if fixed else 1e-4), seed)


@fault(
    "own-loop/backward-from-minus",
    3,
    "loss-head optimizer-state",
    why="the loop goes backward from the negative loss",
)
def backward_from_minus(seed: int, fixed: bool) -> Training:
    model = mlp(13, 3, depth=2)
    training = supervised(wine(), model, SGD(model.parameters(), 0.1), seed)

    def train_step(model: nn.Module, optimizer: Optimizer) -> Tensor:
        optimizer.zero_grad()
        loss = training.step(model)
        (loss if fixed else -loss).backward()
        optimizer.step()
        return loss.detach()

    training.train_step = train_step
    return training


@fault(
    "own-loop/views-drawn-together",
    7,
    "rank-collapse loss-head",
    why="two views of a sample are drawn together and nothing keeps samples apart",
)
def views_drawn_together(seed: int, fixed: bool) -> Training:
    task = digits()
    draw = task.batches(64, seed)
    model = nn.ModuleDict({"encoder": mlp(64, 16, depth=2), "head": nn.Linear(16, 10)})
    noise = torch.Generator().manual_seed(seed)

    def step(model: nn.Module) -> Tensor:
        x, y = draw()
        a, b = (
            model["encoder"](x + 0.2 * torch.randn(x.shape, generator=noise))  # pyright: ignore
            for _ in range(2)
        )
        loss = (a - b).square().mean()
        if fixed:
            loss = loss + (1 - a.std(0)).clamp_min(0).mean()
        logits = model["head"](a.detach())  # pyright: ignore
        return loss + nn.functional.cross_entropy(logits, y)

    def score(model: nn.Module) -> float:
        with torch.no_grad():
            return task.skill(model["head"](model["encoder"](task.x_test)))  # pyright: ignore

    return Training(model, step, Adam(model.parameters(), 1e-2), score)
