"""One training of a copy: with a fix, without, or with a random change."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean
from typing import Any

import torch
from torch import nn

from isograd.capture.guard import untouched
from isograd.errors import IsogradError
from isograd.fixes import draws
from isograd.fixes.kind import carried_out
from isograd.fixes.rewind import Rewind
from isograd.fixes.scores import Answers
from isograd.fixes.setup import Setup, Step
from isograd.monitor.backwards import observed
from isograd.records.fix import Fix

# Batches before and after the training, the same for all arms. What ranks fixes is measured after
# it; small batches scatter.
_BEFORE, _AFTER = 8, 32
_EVALUATION = 7_654_321
# What a user's step may raise by itself, beside what isograd says of it.
_RAISED = (IsogradError, RuntimeError, IndexError, ValueError, TypeError, ArithmeticError)
Change = Callable[[Setup], Setup]
Reading = tuple[float, float | None]


@dataclass(frozen=True)
class Arm:
    """What one training came to.

    Attributes:
        curve: Loss at each step.
        loss: Mean loss after it, by the user's step; infinite if it broke.
        start: Mean loss before it.
        own: Loss and score by the step that the change left, after the training.
        own_start: The same before it.
        redefined: Loss and score by the step of each of the fixes asked for, by its key.
        lasted: Seconds of all steps together.
        score: As in `Measured`, or None.
        start_score: The same before training.
        parameters: Trainable entries.
        seconds: Shortest time of a step: the one that the machine disturbed least.
    """

    curve: tuple[float, ...]
    loss: float
    start: float
    score: float | None
    start_score: float | None
    parameters: int
    seconds: float
    own: Reading
    own_start: Reading
    redefined: dict[int, Reading]
    lasted: float = 0.0


def run(
    setup: Setup,
    change: Change | None,
    seed: int,
    steps: int,
    yardsticks: dict[int, Fix] | None = None,
    *,
    redraw: bool = False,
) -> Arm:
    """Train a copy.

    Args:
        setup: Copied; guarded, and as before afterwards.
        change: Carried out on the copy; None for no change.
        seed: Of all generators: of the change's draws, then of the batches.
        steps: Length; shorter if the loss stops being finite.
        yardsticks: Fixes that redefine the loss: the trained copy is also measured with each.
        redraw: Draw the initialisation anew, by the seed, before the change.
    """
    if change is None:
        try:
            return _run(setup, None, seed, steps, yardsticks, redraw)
        except _RAISED:  # a training that cannot run at all is one that breaks at once
            return _broken(setup, yardsticks or {})
    return _run(setup, change, seed, steps, yardsticks, redraw)


def _run(
    setup: Setup,
    change: Change | None,
    seed: int,
    steps: int,
    yardsticks: dict[int, Fix] | None,
    redraw: bool,
) -> Arm:
    rewind = Rewind(setup.step, setup.train_step)
    with untouched(setup.model):
        rewind.seed(seed)
        arm = setup.copied()
        if redraw:
            draws.redraw(arm.model, seed)
        if change is not None:
            arm = change(arm)
        other = arm.step is not setup.step
        start, start_score = _by_the_users(other, arm.model, setup.step, rewind, _BEFORE)
        own_start = start, start_score
        if other:
            own_start = measured(arm.model, arm.step, rewind, _BEFORE)
        rewind.restore()
        rewind.seed(seed)
        began = time.perf_counter()
        curve, seconds, broke = _trained(arm, steps)
        lasted = time.perf_counter() - began
        loss, score = _by_the_users(other, arm.model, setup.step, rewind)
        loss = math.inf if broke else loss
        own = loss, score
        if other and not broke:
            own = measured(arm.model, arm.step, rewind)
        redefined: dict[int, Reading] = {}
        for key, fix in (yardsticks or {}).items():
            reading = _by_the_step_of(fix, arm, setup, rewind)
            if reading is not None:
                redefined[key] = (math.inf, reading[1]) if broke else reading
        return Arm(
            tuple(curve),
            loss,
            start,
            score,
            start_score,
            sum(p.numel() for p in arm.model.parameters() if p.requires_grad),
            seconds,
            (math.inf, own[1]) if broke else own,
            own_start,
            redefined,
            lasted,
        )


def _broken(setup: Setup, yardsticks: dict[int, Fix]) -> Arm:
    """A training that raises as it stands."""
    nothing: Reading = (math.inf, None)
    entries = sum(p.numel() for p in setup.model.parameters() if p.requires_grad)
    return Arm(
        (),
        math.inf,
        math.inf,
        None,
        None,
        entries,
        0.0,
        nothing,
        nothing,
        dict.fromkeys(yardsticks, nothing),
    )


def _by_the_users(
    other: bool, model: nn.Module, step: Step, rewind: Rewind, batches: int = _AFTER
) -> Reading:
    """By the user's step; with a fix that has another one it may be what raises."""
    try:
        return measured(model, step, rewind, batches)
    except _RAISED:
        if not other:
            raise
        return math.inf, None


def _by_the_step_of(fix: Fix, arm: Setup, setup: Setup, rewind: Rewind) -> Reading | None:
    """What a trained model's loss is in the meaning of a fix; None if it cannot be computed."""
    try:
        new = carried_out(fix, Setup(copy.deepcopy(arm.model), setup.step, arm.optimizer, None))
        return measured(new.model, new.step, rewind)
    except Exception:  # the fix that asked for it fails by itself, with its reason
        return None


def _trained(arm: Setup, steps: int) -> tuple[list[float], float, bool]:
    losses: list[float] = []
    times: list[float] = []
    with observed(lambda _: None, lambda loss: losses.append(float(loss.detach()))):
        for _ in range(steps):
            began = time.perf_counter()
            try:
                arm.iterate()
            except (IsogradError, RuntimeError) as error:
                if not losses or not _numeric(error):
                    raise
                return losses, min(times, default=0.0), True
            times.append(time.perf_counter() - began)
            if losses and not math.isfinite(losses[-1]):
                return losses, min(times), True
    return losses, min(times, default=0.0), False


def _numeric(error: BaseException) -> bool:
    """True for an error that a diverging net raises by itself (targets out of range)."""
    text = str(error).lower()
    return "memory" not in text


def measured(
    model: nn.Module, step: Step, rewind: Rewind, batches: int = _AFTER
) -> tuple[float, float | None]:
    """Mean loss and score on batches that are the same each time, in evaluation mode."""
    modes = [(module, module.training) for module in model.modules()]
    losses: list[float] = []
    scores: list[float] = []
    rewind.restore()
    rewind.seed(_EVALUATION)
    model.eval()
    try:
        for _ in range(batches):
            with torch.enable_grad(), Answers() as answers:
                try:
                    loss: Any = step(model)
                except RuntimeError:
                    model.train()
                    loss = step(model)
            losses.append(float(loss.detach()))
            score = answers.score()
            if score is not None:
                scores.append(score)
    finally:
        for module, training in modes:
            module.training = training
    value = mean(losses)
    return value if math.isfinite(value) else math.inf, mean(scores) if scores else None
