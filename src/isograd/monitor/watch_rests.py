"""Steps of which little is noted, because the budget has no room for more."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from isograd.monitor import backwards
from isograd.monitor.beat import Beat
from isograd.monitor.brisk import MOST
from isograd.monitor.nap import together
from isograd.monitor.watch_rows import Rows

# Seconds by which a hook on the model slows a step.
_INPUT_HOOK = 16e-6


class Rests(Rows):
    """Plans the next steps, and lets those pass that are not affordable."""

    def _plan(self) -> None:
        """What the next steps are for."""
        recorder, pulse = self._recorder, self._pulse
        if recorder.full:
            self._renew()
        recorder.plan()
        pulse.plan()
        self._measuring.next_step(self.steps)
        self._scaling.wanted = pulse.light
        if not self._nod():
            self._inflow.resume()

    def _nod(self) -> bool:
        """Let the next steps pass, as many as the budget wants; false if there are none."""
        governor, pulse, nap = self.governor, self._pulse, self._nap
        if self._busy() or not governor.bare > 0:
            return False
        brisk = pulse.brisk() if self._clock.simple and len(self._optimizers) == 1 else None
        room = min(together(governor.bare), self._recorder.unseen(), self._until(brisk is None))
        looks = governor.times("light", int(room)) if brisk is not None else 0
        if looks >= room:
            room = min(room, MOST)
        # A nap of one step is not worth it, unless steps are slow.
        if room < 1 or (room < 2 and together(governor.bare) > 1):
            return False
        if not nap.on and not self._clock.doze(self._dozed):
            return False
        if not nap.on:
            told = self._recorder.telling
            nap.told, nap.loss = told is not None, told
            self._box.doze()
            backwards.listen(self._seen_backward, nap.heard)
        every = max(1, int(room) // looks) if looks else 0
        nap.begin(self.steps, int(room), self._alarms.high, brisk, every)
        self._clock.looks(nap.look if every else None)
        if not governor.affords(_INPUT_HOOK):
            self._inflow.pause()
        return True

    def _busy(self) -> bool:
        """True if the next step is seen whole."""
        taping = self._rerun is not None and self._rerun.listening
        seen = self._recorder.full or self._measuring.on or self._box.listening
        return bool(seen or taping or self._box.waits or self._guard is not None)

    def _until(self, light: bool) -> float:
        """Steps that surely pass before something is to be seen whole."""
        wait = self.governor.wait
        steps = wait(("full", "light") if light else ("full",))
        steps = min(steps, max(wait(("probe",)), self._measuring.next - self.steps))
        return min(steps, self._box.rests())

    def _seen_backward(self, root: Any, run: Callable[[], None]) -> None:
        """A backward pass begins at `root`; `run` does it."""
        raise NotImplementedError

    def _dozed(self, optimizer: torch.optim.Optimizer) -> None:
        """A step of a nap has ended."""
        try:
            if not self._nap.stepped(optimizer):
                return
            self._settle()
            if not self.failed and self._nod():
                return
            self._wake()
            if not self.failed and self._open:
                self._box.end_step()
                self._plan()
        except Exception as error:
            self._wake()
            self._step_aside(error)

    def _wake(self) -> None:
        """See steps again."""
        self._clock.wake()
        backwards.listen(self._seen_backward, None)
        self._nap.end()

    def _settle(self) -> None:
        """Judge and write what was gathered so far."""
        nap = self._nap
        if not nap.losses:
            return
        begin = time.perf_counter()
        losses, rates, beats = nap.taken()
        first, last = self._recorder.steps, losses[-1]
        self._recorder.slept(losses, rates)
        startled = isinstance(last, float) and self._alarms.startles(last)
        if startled and isinstance(last, float) and (not beats or beats[-1].step < self.steps - 1):
            beats.append(self._unmeasured(last, rates[-1]))
        self._recorder.saw_flow(*self._inflow.taken(startled))
        looks = sum(beat.measured for beat in beats)
        if nap.odd:
            self._pulse.odd()
        self._pulse.add(beats)
        done = 0
        for beat in self._pulse.drain():
            self._passed(first + done, losses[done : beat.step - first], rates[done:])
            self._record(beat, False)
            done = beat.step - first + 1
        self._passed(first + done, losses[done:], rates[done:])
        self.governor.moving = self._alarms.moving
        looking, nap.looking = nap.looking, 0.0
        took = time.perf_counter() - begin + looking
        self.governor.spend("light" if looks else "row", took)
        if looks:
            self.governor.price("light", took / looks)
        self.governor.stepped(steps=len(losses), asleep=True)

    def _unmeasured(self, loss: float, rate: float) -> Beat:
        scaling = self._scaling
        beat = Beat(self.steps - 1, loss, rate, self._pulse.nothing)
        beat.scale, beat.skipped = scaling.scale, scaling.skipped
        return beat

    def _passed(
        self, first: int, losses: list[torch.Tensor | float | None], rates: list[float]
    ) -> None:
        """Steps without a row."""
        if not losses:
            return
        self._alarms.passed(losses)
        if self._losses is not None:
            self._losses.many(first, losses, rates[: len(losses)])
