"""Tiny trainings for the rules: a task of three classes, and what a check says of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import isograd
from isograd.records import Diagnosis

Step = Callable[[nn.Module], Tensor]
Trained = tuple[nn.Module, Step, torch.optim.Optimizer]


def classes(n: int = 96) -> tuple[Tensor, Tensor]:
    """Inputs, and how many of the first two are positive."""
    torch.manual_seed(0)
    x = torch.randn(n, 8)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()


def net(out: int = 3, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 32), activation(), nn.Linear(32, out))


def sgd(model: nn.Module, rate: float = 0.3, **options: Any) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=rate, **options)


def adam(model: nn.Module, rate: float = 0.01) -> torch.optim.Adam:
    return torch.optim.Adam(model.parameters(), lr=rate)


def classified(
    build: Callable[[], nn.Module],
    optimizer: Callable[[nn.Module], torch.optim.Optimizer] = sgd,
    scale: float | Tensor = 1.0,
) -> Trained:
    """Training of a net on the three classes."""
    x, y = classes()
    model = build()
    return model, lambda m: F.cross_entropy(m(x * scale), y), optimizer(model)


def alarms(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    return [(f.code, f.cause) for f in diagnosis.findings if f.alarm]


def checked(trained: Trained, steps: int = 50, **options: Any) -> list[tuple[str, str]]:
    return alarms(isograd.check(*trained, steps=steps, **options))


def explained(diagnosis: Diagnosis) -> set[str]:
    return {f.code for f in diagnosis.findings if not f.alarm}


def watched(trained: Trained, steps: int = 40, scheduler: Any = None) -> list[tuple[str, str]]:
    model, step, optimizer = trained
    with isograd.watch(model, optimizer, budget=None) as watch:
        for _ in range(steps):
            optimizer.zero_grad()
            step(model).backward()
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
    return alarms(watch.diagnosis())
