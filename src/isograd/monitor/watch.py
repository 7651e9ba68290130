"""`isograd.watch`: follow the user's own training loop.

The optimizer's step is the clock (`recorder`), the call of `backward` tells the loss, and now and
then one whole step of the user's is measured like a probe: the tagger is switched on when a step
ends and off when the next backward begins, whose graph is hooked. Nothing of the user's changes,
and a fault of ours ends in one warning and a watch that steps aside.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from isograd.capture.missing import unreached
from isograd.capture.sighting import Sighting
from isograd.monitor import backwards
from isograd.monitor.inflow import Inflow
from isograd.monitor.recorder import Recorder
from isograd.monitor.rerun import Rerun
from isograd.records.finding import Diagnosis
from isograd.records.snapshot import Snapshot
from isograd.records.training import Replay, Training
from isograd.rules import merged
from isograd.rules.case import Case

Judge = Callable[[Snapshot, Training], Diagnosis]
# The first step is measured whole, then ever more rarely.
_PROBE_STEPS = frozenset((0, 10, 50, 100, 500, 1000, 5000, 10_000, 50_000, 100_000))


class Watch:
    """What `isograd.watch` returns; a context manager.

    Args:
        model: The model in training.
        optimizer: Its optimizer.
        judge: Makes a diagnosis of a measurement and a training.

    Attributes:
        snapshot: The latest measurement of a whole step, or None.
        failed: Why the watch stepped aside, or "".
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, judge: Judge) -> None:
        self.snapshot: Snapshot | None = None
        self.first: Snapshot | None = None
        self.failed = ""
        self._model = model
        self._judge = judge
        self._recorder = Recorder(model, optimizer)
        self._inflow = Inflow(model)
        self._optimizer = optimizer
        self._sighting: Sighting | None = None
        self._rerun: Rerun | None = None
        self._aimed = False
        self._steps = 0
        self._handle: Any = None
        self._open = False

    def __enter__(self) -> Watch:
        self.open()
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def open(self) -> None:
        """Start watching; a second call changes nothing."""
        if self._open:
            return
        self._open = True
        self._rerun = self._safely(lambda: Rerun(self._model, self._optimizer))
        if self._rerun is not None:
            self._rerun.open()
        self._recorder.attach()
        self._inflow.open()
        self._handle = self._optimizer.register_step_post_hook(self._stepped)
        backwards.enter(self._seen_backward)
        self._aim()

    def close(self) -> None:
        """Stop watching; nothing stays behind on model, optimizer or torch."""
        if not self._open:
            return
        self._open = False
        self._drop()
        backwards.leave(self._seen_backward)
        self._handle.remove()
        self._recorder.detach()
        self._inflow.close()
        if self._rerun is not None:
            self._rerun.close()

    def log(self, **scalars: float) -> None:
        """Tell numbers that cannot be seen from outside.

        Args:
            scalars: `loss` is taken as the loss of the next step.
        """
        if "loss" in scalars:
            self._recorder.saw_loss(float(scalars["loss"]))

    def diagnosis(self) -> Diagnosis:
        """Judge what was seen so far.

        Raises:
            RuntimeError: If no step was seen.
        """
        if self.first is None and self._recorder.steps:
            return self._judge(unreached(self._model), self._recorder.training(self.failed))
        if self.first is None:
            raise RuntimeError(
                "nothing was measured yet: no backward pass ran inside the watch"
                + (f" ({self.failed})" if self.failed else "")
            )
        training = self._recorder.training(self.failed, self.snapshot)
        broken = [at for at, loss in enumerate(training.loss) if not math.isfinite(loss)]
        if broken and not training.stopped:
            # What comes after tells nothing.
            at = broken[0]
            why = f"the loss is {training.loss[at]} at step {at}"
            training = replace(training, loss=training.loss[: at + 1], stopped=why)
        return self._judged(self.first, training)

    def _judged(self, first: Snapshot, training: Training) -> Diagnosis:
        """What the loop shows; if it goes badly, its start is run again on a copy and replayed."""
        rerun, again = self._rerun, None
        if rerun is not None:
            blind = replace(training, uses=None if training.stopped else rerun.uses(self._model))
            now = rerun.measured(self._model)
            if now is not None and not training.stopped:
                self.snapshot = now
                training, blind = replace(training, end=now), replace(blind, end=now)
            if Case(first, blind).poor:
                again = rerun.training(training, first)
        if again is None or not Case(first, again).poor:
            return self._judge(first, training)
        unchanged = Replay("none", again.loss)
        seen = self._judge(first, replace(training, replays=(unchanged,)))
        return merged(self._judge(first, again), seen)

    def _seen_backward(self, tensors: Any, run: Callable[[], None]) -> None:
        loss = tensors if isinstance(tensors, Tensor) else None
        self._safely(self._recorder.before_backward)
        if self._rerun is not None:
            self._rerun.saw_backward(loss)
        if self._sighting is None or self._aimed:
            run()
        else:
            self._aimed = True
            self._measured(self._sighting, loss, run)
        if loss is not None and loss.numel() == 1:
            self._safely(lambda: self._recorder.saw_backward(loss))

    def _measured(self, sighting: Sighting, loss: Tensor | None, run: Callable[[], None]) -> None:
        """Run the user's backward with hooks; only its own errors come out."""
        ready = self._safely(lambda: sighting.aim(loss))
        run()
        if ready:
            taken = self._safely(sighting.take)
            if isinstance(taken, Snapshot):
                self.first = self.first or taken
                self.snapshot = taken

    def _stepped(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._steps += 1
        self._recorder.saw_flow(*self._inflow.taken())
        if self._rerun is not None:
            self._rerun.stepped()
        self._drop()
        if self._steps in _PROBE_STEPS:
            self._aim()

    def _aim(self) -> None:
        def begin() -> None:
            if self.failed:
                return
            self._drop()
            self._aimed = False
            self._sighting = Sighting(self._model)
            self._sighting.begin()

        self._safely(begin)

    def _drop(self) -> None:
        if self._sighting is not None:
            sighting, self._sighting = self._sighting, None
            self._safely(sighting.leave)

    def _safely(self, action: Callable[[], Any]) -> Any:
        """Run our own code; a fault in it is one warning, never the user's."""
        try:
            return action()
        except Exception as error:
            if self.failed:
                return None
            self.failed = f"{type(error).__name__}: {error}"
            warnings.warn(
                f"isograd stopped watching after its own error: {self.failed}. "
                "The training is not affected.",
                stacklevel=2,
            )
            return None
