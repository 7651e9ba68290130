"""Steps of which little is noted, because the budget has no room for more."""

from __future__ import annotations

import time

import torch

from isograd.monitor.brisk import rows
from isograd.monitor.scaling import found
from isograd.monitor.watch_rows import Rows

# Seconds by which a hook on the model slows a step.
_INPUT_HOOK = 16e-6


class Rests(Rows):
    """Plans the next steps, and lets those pass that are not affordable."""

    def _plan(self) -> None:
        """What the next steps are for."""
        recorder, pulse, governor = self._recorder, self._pulse, self.governor
        if recorder.full:
            self._renew()
        recorder.plan()
        pulse.plan()
        self._scaling.wanted = pulse.light
        self._measuring.next_step(self.steps)
        taping = self._rerun is not None and self._rerun.listening
        busy = recorder.full or self._measuring.on or taping or self._guard or self._box.listening
        if busy or pulse.light:
            if busy or not self._hurry():
                self._inflow.resume()
            return
        kinds = ("light", "full", "row") if self._journal is not None else ("light", "full")
        self._left = self._dozing = governor.wait(kinds)
        self._idle = self._left > 0 and self._clock.doze(self._dozed)
        if self._idle and not governor.affords(_INPUT_HOOK):
            self._inflow.pause()

    def _dozed(self, optimizer: torch.optim.Optimizer) -> bool:
        """A step of which only the loss was noted has ended; true if it is time to wake."""
        try:
            recorder = self._recorder
            loss = recorder.doze(optimizer)
            if self._losses is not None:
                self._losses.note(recorder.steps - 1, loss, recorder.rate)
            self._inflow.calls.clear()
            self._scaling.stepped()
            self._left -= 1
            startled = isinstance(loss, float) and self._alarms.startles(loss)
            if self._left > 0 and not startled:
                return False
            self._idle = False
            self._pulse.begin_step(self.steps - 1, recorder.noted, recorder.rate)
            return True
        except Exception as error:
            self._step_aside(error)
            return True

    def _hurry(self) -> bool:
        """Take the rows of the next few steps together; false if that is not possible."""
        self._left = self._dozing = rows(self.governor.bare)
        if self._left < 2 or not self._clock.simple or len(self._optimizers) != 1:
            return False
        self._brisk = brisk = self._pulse.brisk()
        if brisk is None or not self.governor.lasts("light", self._left):
            return False

        def look() -> None:
            try:
                begin = time.perf_counter()
                brisk.look()
                self.governor.spend("light", time.perf_counter() - begin)
            except Exception:  # then the rows that are complete are the last ones
                self._brisk = None

        if not self._clock.doze(self._hurried, look):
            return False
        self._inflow.pause()
        self._idle = True
        return True

    def _hurried(self, optimizer: torch.optim.Optimizer) -> bool:
        """A step whose row is made later has ended; true if it is time to make them."""
        try:
            recorder, brisk = self._recorder, self._brisk
            loss = recorder.doze(optimizer)
            if brisk is not None:
                beat = brisk.step(self.steps - 1, loss, recorder.rate)
                beat.clips, beat.refused = self._scaling.clips, found(optimizer)
                beat.scale, beat.skipped = self._scaling.scale, self._scaling.skipped
                self._scaling.clips = []
                self._hurrying = brisk
            self._left -= 1
            startled = isinstance(loss, float) and self._alarms.startles(loss)
            if self._left > 0 and not startled and brisk is not None:
                return False
            self._idle = False
            self._catch_up()
            return True
        except Exception as error:
            self._step_aside(error)
            return True
