"""Faults behind the optimizer's back: what a loop writes to weights and gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from diagnosis.faults.graph import narrow
from diagnosis.registry import Training, fault

Act = Callable[[nn.Module], None]


def looped(seed: int, behind: Act | None = None, after: Act | None = None) -> Training:
    """The narrow net in a loop that acts between backward and step, or after the step."""
    training = narrow(seed, True, None)
    step = training.step

    def train_step(model: nn.Module, optimizer: Optimizer) -> Tensor:
        optimizer.zero_grad()
        loss = step(model)
        loss.backward()
        if behind is not None:
            behind(model)
        optimizer.step()
        if after is not None:
            with torch.no_grad():
                after(model)
        return loss.detach()

    training.train_step = train_step
    return training


@fault("behind/gradient-none", 5, "frozen optimizer-state graph-cut", "body", why="grad = None")
def gradient_none(seed: int, fixed: bool) -> Training:
    def behind(model: nn.Module) -> None:
        for parameter in model.get_submodule("body").parameters():
            parameter.grad = None

    return looped(seed, None if fixed else behind)


@fault("behind/gradient-zeroed", 5, "frozen optimizer-state graph-cut", "body", why="grad.zero_()")
def gradient_zeroed(seed: int, fixed: bool) -> Training:
    def behind(model: nn.Module) -> None:
        for parameter in model.get_submodule("body").parameters():
            assert parameter.grad is not None
            parameter.grad.zero_()

    return looped(seed, None if fixed else behind)


@fault(
    "behind/state-loaded-again",
    5,
    "optimizer-state frozen weight-decay",
    "body",
    why="the body's first state is loaded after each step",
)
def state_loaded_again(seed: int, fixed: bool) -> Training:
    training = looped(seed)
    start = copy.deepcopy(training.model.get_submodule("body").state_dict())

    def after(model: nn.Module) -> None:
        model.get_submodule("body").load_state_dict(start)

    return training if fixed else looped(seed, after=after)


@fault(
    "behind/clamped-to-nothing",
    3,
    "clipping weight-scale regularization",
    why="weights are clamped to 0.001 after each step",
)
def clamped_to_nothing(seed: int, fixed: bool) -> Training:
    def after(model: nn.Module) -> None:
        for parameter in model.parameters():
            parameter.clamp_(-1e-3, 1e-3)

    return looped(seed, after=None if fixed else after)


@fault("behind/rounded-weights", 6, "precision", why="weights rounded to 1/16 after each step")
def rounded_weights(seed: int, fixed: bool) -> Training:
    def after(model: nn.Module) -> None:
        for parameter in model.parameters():
            parameter.mul_(16).round_().div_(16)

    return looped(seed, after=None if fixed else after)
