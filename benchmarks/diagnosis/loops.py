"""Training loops: what stands around `step` in a user's script."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

Step = Callable[[nn.Module], Tensor]
Loop = Callable[[nn.Module, Optimizer], Tensor]


def loop(
    step: Step,
    *,
    schedule: Callable[[int], float] | None = None,
    rate: float = 0.0,
    clip: float | None = None,
    clip_value: float | None = None,
    accumulate: int = 1,
    divide: bool = True,
    zero: str = "before",
) -> Loop:
    """One whole iteration.

    Args:
        step: Draws a batch and returns its loss.
        schedule: Factor on `rate` at each iteration.
        rate: The optimizer's rate, if there is a schedule.
        clip: Largest norm of the whole gradient.
        clip_value: Largest entry of the gradient.
        accumulate: Backward passes per optimizer step.
        divide: Divide the loss by `accumulate`.
        zero: When gradients are cleared: `before` the backward pass, `after` it (and before the
            optimizer's step), or `never`.
    """
    count = 0

    def train_step(model: nn.Module, optimizer: Optimizer) -> Tensor:
        nonlocal count
        if schedule is not None:
            for group in optimizer.param_groups:
                group["lr"] = rate * schedule(count)
        if zero == "before":
            optimizer.zero_grad()
        for _ in range(accumulate):
            loss = step(model)
            (loss / accumulate if divide else loss).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        if clip_value is not None:
            nn.utils.clip_grad_value_(model.parameters(), clip_value)
        if zero == "after":
            optimizer.zero_grad()
        optimizer.step()
        count += 1
        return loss.detach()

    return train_step


def scaled(step: Step, scale: float) -> Loop:
    """An iteration with a fixed loss scale that skips steps with infinite gradients."""

    def train_step(model: nn.Module, optimizer: Optimizer) -> Tensor:
        optimizer.zero_grad()
        loss = step(model)
        (loss.float() * scale).backward()
        owned = [p for p in model.parameters() if p.grad is not None]
        if all(bool(torch.isfinite(p.grad).all()) for p in owned):
            for p in owned:
                p.grad /= scale
            optimizer.step()
        return loss.detach()

    return train_step
