"""A short training of a copy; the user's model and optimizer stay as they are."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn

from isograd.capture.guard import untouched
from isograd.capture.probe import Step, call_step, check_loss, probe
from isograd.errors import IsogradError, StepError
from isograd.monitor.recorder import Recorder
from isograd.records.history import History
from isograd.records.snapshot import Snapshot
from isograd.records.training import Training

# Plain SGD at a rate at which a net with sane gradients moves and does not diverge.
_DEFAULT_RATE = 0.01


def train_copy(
    model: nn.Module, step: Step, optimizer: torch.optim.Optimizer | None, steps: int
) -> Training:
    """Train a deep copy and follow it.

    Args:
        model: Copied; the model itself is guarded and stays as it is.
        step: The training step's loss.
        optimizer: Copied with its state onto the copy's parameters; SGD at 0.01 if None.
        steps: Number of steps; fewer if the loss or a gradient stops being finite.

    Returns:
        What each step did, with a measurement of the trained copy.

    Raises:
        StepError: If the model cannot be copied, or the step raises.
    """
    with untouched(model):
        twin = _copied(model)
        trainer = copied_optimizer(optimizer, model, twin)
        recorder = Recorder(twin, trainer, dense=True)
        recorder.attach()
        stopped = ""
        try:
            for number in range(steps):
                trainer.zero_grad(set_to_none=True)
                loss = call_step(step, twin)
                check_loss(loss)
                loss.backward()
                recorder.saw_backward(loss)
                trainer.step()
                if not math.isfinite(float(loss.detach())):
                    stopped = f"the loss is {float(loss.detach())} at step {number}"
                    break
        finally:
            recorder.detach()
        return recorder.training(stopped, _end(twin, step))


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
