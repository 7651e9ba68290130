"""Runs a bad step again from its tape, under a hunt."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from isograd.capture.guard import untouched
from isograd.capture.hunt import Hunt
from isograd.capture.sites import Site
from isograd.monitor.step_tape import StepTape
from isograd.records.bad_step import BadStep


@dataclass(slots=True)
class Kept:
    """State of weights and of one optimizer before a step.

    Attributes:
        optimizer: The user's.
        weights: By name, those of the model that it holds.
        state: Copies of its state, by name of the weight.
        groups: Settings of its groups.
        site: Where its step was called.
    """

    optimizer: torch.optim.Optimizer
    weights: dict[str, Tensor]
    state: dict[str, dict[str, Any]]
    groups: list[dict[str, Any]]
    site: Site = field(default_factory=Site)


@dataclass(slots=True)
class Suspect:
    """What is to be run again.

    Attributes:
        step: Number of the step.
        model: The model, with the weights of before the step unless `kept` has others.
        tape: The step up to the optimizer; None if it could not be written down.
        optimizers: Whose step is run too, if the gradients are fine.
        losses: What the training's backward passes began at.
        gradients: What the optimizer was given, by name, where that is still known.
        lost: Why there is no tape.
    """

    step: int
    model: nn.Module
    tape: StepTape | None
    optimizers: tuple[Kept, ...] = ()
    losses: tuple[float, ...] = ()
    gradients: dict[str, Tensor] = field(default_factory=dict)
    lost: str = ""


def hunted(suspect: Suspect) -> BadStep | None:
    """Find the first bad op of a step; nothing of the user's is changed.

    Returns:
        Where it began; None if all stays finite this time.
    """
    tape = suspect.tape
    with no_hooks(), held_weights(suspect.model, suspect.optimizers):
        names = tape.names if tape is not None else {}
        model = alone(suspect.model) if tape is not None else suspect.model
        hunt = Hunt(model, names)
        played: Sequence[float] = ()
        gradients: dict[str, Tensor | None] = {}
        if tape is not None:
            with untouched(model) as guard:
                guard.protect(c.value for c in tape.constants() if c.value.requires_grad)
                played, gradients = _play(hunt, model, tape)
        if hunt.found is None:
            gradients = {**gradients, **suspect.gradients}
            for kept in suspect.optimizers:
                _stepped(hunt, suspect.model, kept, gradients)
        found = hunt.found
    if found is None:
        return None
    same = tape is None or _alike(played, suspect.losses)
    return replace(found, step=suspect.step, how="run again", reproduced=same)


def _play(
    hunt: Hunt, model: nn.Module, tape: StepTape
) -> tuple[Sequence[float], dict[str, Tensor | None]]:
    hunt.sites.border = StepTape.play.__code__
    played: list[float] = []
    with hunt:
        try:
            played = tape.play(model, lambda site: setattr(hunt.sites, "at", site))
            hunt.saw_gradients()
        except Exception as error:
            hunt.saw_error(error)
            if hunt.found is None:
                raise
    return played, {name: p.grad for name, p in model.named_parameters()}


def _stepped(hunt: Hunt, model: nn.Module, kept: Kept, gradients: dict[str, Tensor | None]) -> None:
    """Let a copy of an optimizer step on copies of the weights."""
    parameters = dict(model.named_parameters())
    memo: dict[int, Any] = {}
    clones: dict[str, Tensor] = {}
    for group in kept.optimizer.param_groups:
        for p in group["params"]:
            memo[id(p)] = p.detach().clone().requires_grad_(p.requires_grad)
            memo[id(p)].grad = p.grad
    for name, parameter in parameters.items():
        if id(parameter) in memo:
            clone = clones[name] = memo[id(parameter)]
            given = gradients.get(name, parameter.grad) if gradients else parameter.grad
            clone.grad = None if given is None else given.detach().clone()
    twin = copied(kept.optimizer, memo)
    for group, settings in zip(twin.param_groups, kept.groups, strict=True):
        group.update(copy.deepcopy(settings))
    for name, clone in clones.items():
        if name in kept.state:
            twin.state[clone] = copy.deepcopy(kept.state[name])
        else:
            twin.state.pop(clone, None)
    hunt.know(clones)
    hunt.sites.border = _stepped.__code__
    hunt.sites.at = kept.site
    with hunt:
        try:
            twin.step()
        except Exception as error:
            hunt.saw_error(error)
            if hunt.found is None:
                raise


def copied(optimizer: torch.optim.Optimizer, memo: dict[int, Any]) -> torch.optim.Optimizer:
    """A copy of an optimizer on the weights that `memo` has for its own, by id."""
    twin = copy.deepcopy(optimizer, memo)
    for name, value in vars(optimizer).items():
        # `Optimizer.__getstate__` leaves these out; a scheduler's wrapper of `step` is the user's.
        if name not in vars(twin) and not callable(value) and "hooks" not in name:
            setattr(twin, name, copy.deepcopy(value, memo))
    return twin


def several() -> bool:
    """True if other processes train with this one."""
    distributed = torch.distributed
    known = distributed.is_available() and distributed.is_initialized()
    return known and distributed.get_world_size() > 1


def alone(model: nn.Module) -> nn.Module:
    """The model, or a copy if a gradient of its own sets something off.

    Other processes may wait for it, or an optimizer steps as soon as it is there.
    """
    hooked = any(getattr(p, "_post_accumulate_grad_hooks", None) for p in model.parameters())
    return copy.deepcopy(model) if several() or hooked else model


@contextmanager
def held_weights(model: nn.Module, optimizers: Sequence[Kept]) -> Iterator[None]:
    """The weights of before the step, while the body runs."""
    before = {name: w for kept in optimizers for name, w in kept.weights.items()}
    parameters = dict(model.named_parameters())
    now = {name: p.detach().clone() for name, p in parameters.items()}
    versions = {name: p._version for name, p in parameters.items()}
    _write({n: p for n, p in parameters.items() if n in before}, before)
    try:
        yield
    finally:
        # A hook of the user's may have written to others.
        wrong = {n for n, p in parameters.items() if p._version != versions[n]} | before.keys()
        _write({n: p for n, p in parameters.items() if n in wrong}, now)


def _write(parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    with torch.no_grad(), torch._C.DisableTorchFunction():
        for name, parameter in parameters.items():
            parameter.data.copy_(values[name])


@contextmanager
def no_hooks() -> Iterator[None]:
    """Nobody is told of the steps of optimizers inside."""
    homes: tuple[Any, ...] = (_global_optimizer_pre_hooks, _global_optimizer_post_hooks)
    before = [dict(home) for home in homes]
    for home in homes:
        home.clear()
    try:
        yield
    finally:
        for home, old in zip(homes, before, strict=True):
            home.update(old)


def _alike(played: Sequence[float], seen: Sequence[float]) -> bool:
    """True if the same losses came out, bit by bit; NaN is like NaN."""
    pairs = zip(played, seen, strict=False)
    same = all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in pairs)
    return same and len(played) <= len(seen)
