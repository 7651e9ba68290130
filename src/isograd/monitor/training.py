"""A short training of a copy; the user's model and optimizer stay as they are."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from torch import nn

from isograd.capture.guard import untouched
from isograd.capture.probe import Step, call_step, check_loss, probe
from isograd.capture.rng import RandomState
from isograd.errors import IsogradError, StepError
from isograd.monitor.backwards import observed
from isograd.monitor.recorder import Recorder
from isograd.monitor.twins import input_use, shuffled_loss
from isograd.records.history import History
from isograd.records.snapshot import Snapshot
from isograd.records.training import Replay, Training

TrainStep = Callable[[nn.Module, torch.optim.Optimizer], Any]
NO_STEP = "the optimizer took no step"
# Where the rate is right, losses fall by more than this within a short training, or the problem
# is solved; both directions are then tried on further copies.
_CLEARLY = 0.05
_SMALLER = (0.01, 0.1)
# Update ratios at which nets train (Bengio, 2012, gives 1e-3), tried where the user's is tiny.
_MOVING = (1e-3, 1e-2)
_TINY = 1e-5
_STILL = 1e-20
# Plain SGD at a rate at which a net with sane gradients moves and does not diverge.
_DEFAULT_RATE = 0.01


def train_copy(
    model: nn.Module,
    step: Step,
    optimizer: torch.optim.Optimizer | None,
    steps: int,
    train_step: TrainStep | None = None,
) -> Training:
    """Train a deep copy and follow it.

    Args:
        model: Copied; the model itself is guarded and stays as it is.
        step: The training step's loss.
        optimizer: Copied with its state onto the copy's parameters; SGD at 0.01 if None.
        train_step: `train_step(model, optimizer)` does one whole iteration of the user's loop
            and returns the loss or None; zero_grad, backward and step if None.
        steps: Number of steps; fewer if the loss or a gradient stops being finite.

    Returns:
        What each step did, with a measurement of the trained copy.

    Raises:
        StepError: If the model cannot be copied, or the step raises.
    """
    with untouched(model):
        twin = _copied(model)
        trainer = copied_optimizer(optimizer, model, twin)
        generators = RandomState()
        recorder = Recorder(twin, trainer, dense=True)
        recorder.attach()
        stopped = ""
        try:
            with observed(recorder.before_backward, recorder.saw_backward):
                for number in range(steps):
                    try:
                        iterate(step, train_step, twin, trainer)
                    except RuntimeError as error:  # the optimizer's own, as in the user's loop
                        stopped = f"step {number} raised {type(error).__name__}: {error}"
                        break
                    value = recorder.latest()
                    if value is not None and not math.isfinite(value):
                        stopped = f"the loss is {value} at step {number}"
                        break
        finally:
            recorder.detach()
        if not stopped and steps and not recorder.steps:
            stopped = NO_STEP
        training = recorder.training(stopped, _end(twin, step))
        if training.loss and not _helped(training.loss):
            replays = []
            for factor in _factors(training.update_ratio()):
                generators.restore()
                replay = _replay(model, step, train_step, optimizer, steps, factor)
                replays.append(replay)
            generators.restore()
            shuffled = shuffled_loss(_copied(model), step)
            training = replace(training, replays=tuple(replays), shuffled_loss=shuffled)
        if not stopped:
            training = replace(training, uses=input_use(twin, step))
        return replace(training, scheduled=_scheduled(trainer))


def copied_optimizer(
    optimizer: torch.optim.Optimizer | None, model: nn.Module, twin: nn.Module
) -> torch.optim.Optimizer:
    """The same optimizer, with the same state, on the parameters of a copy.

    A parameter that it holds and the model does not is copied too, so that it trains there as
    little as it does in the user's run.
    """
    if optimizer is None:
        return torch.optim.SGD([p for p in twin.parameters() if p.requires_grad], lr=_DEFAULT_RATE)
    memo: dict[int, Any] = {
        id(a): b for a, b in zip(model.parameters(), twin.parameters(), strict=True)
    }
    return copy.deepcopy(optimizer, memo)


def _helped(loss: tuple[float, ...]) -> bool:
    """True if the last fifth of the losses lies clearly below the first."""
    part = max(1, len(loss) // 5)
    start, end = median(loss[:part]), median(loss[-part:])
    return math.isfinite(end) and start - end > _CLEARLY * abs(start)


def _factors(update_ratio: float) -> tuple[float, ...]:
    """Rates to try: smaller ones, and if weights hardly move, those that move them."""
    if not _STILL < update_ratio < _TINY:
        return _SMALLER
    return (*_SMALLER, *(ratio / update_ratio for ratio in _MOVING))


def _replay(
    model: nn.Module,
    step: Step,
    train_step: TrainStep | None,
    optimizer: torch.optim.Optimizer | None,
    steps: int,
    factor: float,
) -> Replay:
    """The same training with all rates multiplied; the causal proof of a wrong rate."""
    twin = _copied(model)
    trainer = copied_optimizer(optimizer, model, twin)
    for group in trainer.param_groups:
        group["lr"] = group["lr"] * factor
    losses: list[float] = []
    with observed(lambda: None, lambda loss: losses.append(float(loss.detach()))):
        for _ in range(steps):
            try:
                iterate(step, train_step, twin, trainer)
            except (IsogradError, RuntimeError):  # a rate this large can overflow anything
                losses.append(math.inf)
            if losses and not math.isfinite(losses[-1]):
                break
    return Replay(factor, tuple(losses))


def iterate(
    step: Step, train_step: TrainStep | None, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """One iteration: the user's own, or zero_grad, backward and step."""
    if train_step is not None:
        call_step(lambda twin: train_step(twin, optimizer), model)
        return
    optimizer.zero_grad(set_to_none=True)
    loss = call_step(step, model)
    check_loss(loss)
    loss.backward()
    optimizer.step()


def _scheduled(optimizer: torch.optim.Optimizer) -> bool:
    return any(
        group.get("initial_lr") is not None and group["lr"] < group["initial_lr"]
        for group in optimizer.param_groups
    )


def history(training: Training, snapshot: Snapshot) -> History:
    """Learning speed of every layer over a training: its bias, or its weight without one."""
    shown: dict[str, tuple[float, ...]] = {}
    for layer in snapshot.layers:
        names = (f"{layer.module}.bias", f"{layer.module}.weight", layer.module)
        name = next((name for name in names if name in training.parameters), None)
        if name is not None:
            shown[layer.module] = training.parameters[name].gradient
    if not shown:
        shown = {name: track.gradient for name, track in training.parameters.items()}
    return History(
        steps=tuple(range(len(training.loss))),
        layers=tuple(shown),
        speeds=tuple(shown.values()),
        loss=training.loss,
    )


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise StepError(
            f"the model cannot be copied for a short training: {error}",
            causes=("the model keeps a tensor with a graph; detach it", "pass steps=0"),
        ) from error


def _end(twin: nn.Module, step: Step) -> Snapshot | None:
    try:
        return probe(twin, step)
    except IsogradError:
        return None
