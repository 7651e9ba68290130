"""One thing changed: what a short training is replayed with to prove a cause.

A change says when it is worth trying and makes it on a copy. If the training fails as it stands
and learns with one thing changed, that thing is the cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from isograd.capture.probe import Step
from isograd.monitor.buffers import drawn_attributes, drawn_buffers
from isograd.monitor.dropout import without_dropout
from isograd.records.snapshot import Snapshot
from isograd.records.training import PLAIN, Training, thrown_up

Entered = Callable[[nn.Module, torch.optim.Optimizer], AbstractContextManager[None]]

_SMALLER = (0.01, 0.1)
# Update ratios at which nets train (Bengio, 2012, gives 1e-3), tried where the user's is tiny.
_MOVING = (1e-3, 1e-2)
_TINY = 1e-5
# A tenth of it, tried where nothing is learnt in four times the steps either.
_SLOW = 1e-4
_STILL = 1e-20
# Memory of 20 steps and more; and eps that is not far below the gradients it stands beside.
_LONG_MEMORY = 0.95
_USUAL = 0.9
_LARGE_EPS = 1e-7
# Below this batch size the scatter of single samples may rule; then 16 draws are averaged.
_FEW = 8
DRAWS = 16


@dataclass(frozen=True)
class Situation:
    """What changes decide on.

    Attributes:
        model: The user's model.
        optimizer: The user's optimizer, or None.
        start: Measurement at the start.
        training: The training as it stands.
        failing: True if it does not learn.
        poor: True if it fails, or learns little.
        late: True if it learns when it is continued.
        held: True if a schedule takes the rate away within the steps, and little is learnt.
        schedulers: Those of the optimizer, which follow a copy while it trains.
        step: The training step's loss.
        whole_step: True if the user's own iteration is run, so that only hooks can change it.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer | None
    start: Snapshot | None
    training: Training
    failing: bool
    poor: bool = False
    whole_step: bool = False
    late: bool = False
    held: bool = False
    schedulers: Any = None
    step: Step | None = None


@dataclass(frozen=True)
class Change:
    """One change.

    Attributes:
        name: What is changed: `rate`, `momentum`, `weight decay`, `eps`, `frozen`, `inputs`,
            `targets`, `logits`, `penalty`, `dropout`, `detach` or `draws`.
        entered: Makes the change on a copy and its optimizer; holds while the context is open.
        factor: By how much, where that is a number.
        detail: What exactly.
        draws: Batches averaged in one step.
        partial: Makes the step that is replayed from the user's.
    """

    name: str
    entered: Entered
    factor: float = 1.0
    detail: str = ""
    draws: int = 1
    partial: Callable[[Step], Step] | None = None


def settings(case: Situation) -> Iterator[Change]:
    """Changes of the optimizer's settings and of what is frozen."""
    if not case.poor or case.training.broke is not None:
        return
    ratio = case.training.update_ratio()
    factors = _SMALLER
    if _STILL < ratio < (_SLOW if case.failing and not case.late else _TINY):
        factors = (*_SMALLER, *(wanted / ratio for wanted in _MOVING))
    if case.late and thrown_up(case.training.loss):
        factors = (_SMALLER[-1],)
    elif case.late:
        factors = tuple(factor for factor in factors if factor > 1)
    elif not case.failing:
        factors = (_SMALLER[-1],)
    for factor in factors:
        yield Change("rate", at_rate(factor), factor)
    facts = case.training.optimizer
    if facts is None:
        return
    if facts.momentum > _LONG_MEMORY:
        yield Change("momentum", _group("momentum", _USUAL), _USUAL)
    if facts.weight_decay > 0:
        yield Change("weight decay", _group("weight_decay", 0.0), 0.0)
    if facts.epsilon > _LARGE_EPS:
        yield Change("eps", _group("eps", 1e-8), 1e-8)
    samples = (case.start.samples or 1) if case.start else _FEW + 1
    if samples <= _FEW and not case.whole_step:
        yield Change("draws", lambda *_: nullcontext(), DRAWS, draws=DRAWS)
    if case.start is not None and any(op.kind == "dropout" for op in case.start.ops):
        yield Change("dropout", without_dropout)
    frozen = [
        n for n, p in case.model.named_parameters() if not p.requires_grad and p.is_floating_point()
    ]
    frozen += drawn_buffers(case.model)
    frozen += [f"{name} {PLAIN}" for name in drawn_attributes(case.model)]
    if frozen:
        yield Change("frozen", _thaw, len(frozen), ", ".join(frozen))


def at_rate(factor: float) -> Entered:
    """Scaled while the optimizer steps only: a loop or a schedule may set the rate each time."""

    @contextmanager
    def enter(_: nn.Module, trainer: torch.optim.Optimizer) -> Iterator[None]:
        kept: list[Any] = []

        def before(optimizer: torch.optim.Optimizer, *_: Any) -> None:
            kept[:] = [group["lr"] for group in optimizer.param_groups]
            for group in optimizer.param_groups:
                group["lr"] = group["lr"] * factor

        def after(optimizer: torch.optim.Optimizer, *_: Any) -> None:
            for group, rate in zip(optimizer.param_groups, kept, strict=True):
                group["lr"] = rate

        handles = trainer.register_step_pre_hook(before), trainer.register_step_post_hook(after)
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    return enter


@contextmanager
def kept_rate(_: nn.Module, trainer: torch.optim.Optimizer) -> Iterator[None]:
    """Every step is done at the rate that a schedule starts from, whatever it has become."""
    full = [
        max(float(group.get("initial_lr", 0.0)), float(group["lr"]))
        for group in trainer.param_groups
    ]

    def before(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group, rate in zip(optimizer.param_groups, full, strict=False):
            group["lr"] = rate

    handle = trainer.register_step_pre_hook(before)
    try:
        yield
    finally:
        handle.remove()


def _group(key: str, value: float) -> Entered:
    def enter(_: nn.Module, trainer: torch.optim.Optimizer) -> AbstractContextManager[None]:
        for group in trainer.param_groups:
            if key in group:
                group[key] = value
            if key == "momentum" and "betas" in group:
                group["betas"] = (value, *group["betas"][1:])
        return nullcontext()

    return enter


@contextmanager
def _thaw(twin: nn.Module, trainer: torch.optim.Optimizer) -> Iterator[None]:
    frozen = [p for p in twin.parameters() if not p.requires_grad and p.is_floating_point()]
    held = {id(p) for group in trainer.param_groups for p in group["params"]}
    for parameter in frozen:
        parameter.requires_grad_(True)
    for name in drawn_buffers(twin):
        path, _, leaf = name.rpartition(".")
        module = twin.get_submodule(path)
        parameter = nn.Parameter(module._buffers.pop(leaf))  # pyright: ignore
        module.register_parameter(leaf, parameter)
        frozen.append(parameter)
    for name in drawn_attributes(twin):
        path, _, leaf = name.rpartition(".")
        module = twin.get_submodule(path)
        parameter = nn.Parameter(vars(module).pop(leaf).detach())
        module.register_parameter(leaf, parameter)
        frozen.append(parameter)
    new = [p for p in frozen if id(p) not in held]
    if new:
        trainer.param_groups[0]["params"].extend(new)
    yield
