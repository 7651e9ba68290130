"""What a watch is made of, and how it steps aside.

A fault of ours ends in one warning; from then on the training goes on as if nobody watched.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from isograd.monitor.alarms import Alarm, Alarms
from isograd.monitor.beat import Beat
from isograd.monitor.black_box import BlackBox
from isograd.monitor.clock import Clock, Listener
from isograd.monitor.governor import Governor
from isograd.monitor.guarding import Guard
from isograd.monitor.inflow import Inflow
from isograd.monitor.journal import Journal, place
from isograd.monitor.losses import Losses
from isograd.monitor.measuring import Measuring
from isograd.monitor.nap import Nap
from isograd.monitor.pulse import Pulse
from isograd.monitor.recorder import Recorder
from isograd.monitor.rerun import Rerun
from isograd.monitor.scaling import Scaling
from isograd.records.bad_step import BadStep
from isograd.records.finding import Diagnosis
from isograd.records.snapshot import Snapshot
from isograd.records.training import Training

Judge = Callable[[Snapshot, Training], Diagnosis]


class Parts:
    """The measuring parts of one watch.

    Args:
        model: The model in training.
        optimizers: Its optimizers; others that hold a parameter of it are found when they step.
        judge: Makes a diagnosis of a measurement and a training.
        budget: Share of the training's time that watching may take; None takes all it needs.
        alarmed: Called with each alarm.
        guard: None, "skip" (a step with a gradient that is not finite is left out) or "stop"
            (it raises `TrainingStopped`).
        replay: True to keep every step whatever it costs, so that a bad one is run again.

    Attributes:
        failed: Why the watch stepped aside, or "".
        governor: What was spent on what.
        ending: How the training ended, for the run file; "" if it just ended.
        concluded: The diagnosis that the run file was closed with.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        judge: Judge,
        budget: float | None = None,
        alarmed: Callable[[Alarm], None] | None = None,
        guard: str | None = None,
        replay: bool = False,
    ) -> None:
        self.failed = ""
        self.governor = Governor(budget)
        self._model = model
        self._judge = judge
        self._journal: Journal | None = None
        self._losses: Losses | None = None
        self._guard = Guard(guard) if guard is not None else None
        self._parameters = dict(model.named_parameters())
        self._trained = trained(self._parameters)
        self._held: dict[int, int] = {}
        self._recorder = Recorder(model, optimizers, self.governor)
        self._pulse = Pulse(self._parameters, self.governor)
        self._inflow = Inflow(model, self._step_aside)
        self._scaling = Scaling(list(self._parameters.values()), self._step_aside)
        self._measuring = Measuring(model, self.governor)
        self._names = tuple(self._parameters)
        self._alarms = Alarms(self._names, alarmed)
        self._optimizers = list(optimizers)
        self._clock = Clock(model, optimizers, cast("Listener", self))
        self._rerun: Rerun | None = None
        self._box = BlackBox(model, self.governor, replay, place()[0])
        self._open = False
        self._nap = Nap(self._scaling, self._step_aside)
        self.ending = ""
        self.concluded: Diagnosis | None = None
        self._row: Beat | None = None
        self._arrived = 0.0
        self._price = 0.0
        self._glances = 0
        for optimizer in optimizers:
            self._pulse.adopted(optimizer)
            self._held[id(optimizer)] = count(optimizer)

    @property
    def alarms(self) -> list[Alarm]:
        """Alarms so far, oldest first."""
        return self._alarms.raised

    @property
    def bad_steps(self) -> list[BadStep]:
        """Steps that turned NaN or infinite, and where that began; oldest first."""
        return self._box.found

    @property
    def steps(self) -> int:
        """Steps seen so far."""
        return self._recorder.steps + len(self._nap.losses)

    def _safely(self, action: Callable[[], Any]) -> Any:
        """Run our own code; a fault in it is one warning, never the user's."""
        try:
            return action()
        except Exception as error:
            self._step_aside(error)
            return None

    def _step_aside(self, error: Exception) -> None:
        if self.failed:
            return
        self.failed = f"{type(error).__name__}: {error}"
        warnings.warn(
            f"isograd stopped watching after its own error: {self.failed}. "
            "The training is not affected.",
            stacklevel=3,
        )


def trained(named: Mapping[str, Tensor]) -> dict[str, tuple[int, bool]]:
    """What tells that a parameter was replaced, frozen or thawed, by name."""
    return {name: (id(p), p.requires_grad) for name, p in named.items()}


def count(optimizer: torch.optim.Optimizer) -> int:
    """Parameters that an optimizer holds."""
    return sum(len(group["params"]) for group in optimizer.param_groups)
