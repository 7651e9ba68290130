"""A watch as the clock's listener: what it does at each backward pass and optimizer step."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from isograd.monitor import backwards
from isograd.monitor.scaling import found
from isograd.monitor.watch_parts import count
from isograd.monitor.watch_rests import Rests
from isograd.monitor.whose import concerns


class Steps(Rests):
    """Hears backward passes, optimizers and the ends of steps."""

    def _seen_backward(self, root: Any, run: Callable[[], None]) -> None:
        tensor = root if isinstance(root, Tensor) else None
        if self.failed or self._box.busy or not self._mine(tensor):
            run()
            return
        if self._box.listening:
            run = self._box.around(root, run, self._safely)
        nap = self._nap
        if not nap.on:
            self._clock.new_backward()
            rerun = self._rerun
            try:
                self._recorder.before_backward()
                if rerun is not None and rerun.listening:
                    rerun.saw_backward(tensor)
            except Exception as error:
                self._step_aside(error)
        if self._measuring.on:
            self._measuring.around(tensor, run, self._safely)
        else:
            run()
        if nap.on:
            nap.heard(tensor)
        elif tensor is not None and tensor.numel() == 1:
            try:
                loss = self._scaling.true_loss(tensor)
                factor = self._scaling.factor(tensor) if self._recorder.full else 1.0
                self._recorder.saw_backward(loss, factor)
            except Exception as error:
                self._step_aside(error)

    def _mine(self, root: Tensor | None) -> bool:
        """True unless it is another net's backward pass; not asked of one that is alone."""
        if self._nap.on and not backwards.crowded():
            return True
        try:
            return concerns(root, self._scaling.own)
        except Exception as error:
            self._step_aside(error)
            return False

    def _becomes_compiled(self) -> None:
        """The training is, or is about to be, compiled: no mode or hook of ours may be in it."""
        self._safely(self._measuring.give_up)
        self._safely(self._box.give_up)
        if self._rerun is not None:
            self._safely(self._rerun.give_up)
        self._inflow.give_up()

    def adopted(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer of the model was found."""
        self._roused()
        self._optimizers.append(optimizer)
        if self._rerun is not None:
            self._rerun.adopted(optimizer)

        def follow() -> None:
            self._recorder.adopted(optimizer)
            self._pulse.adopted(optimizer)
            self._held[id(optimizer)] = count(optimizer)
            self._renew()

        self._safely(follow)

    def _roused(self) -> None:
        """Something ends a nap before its time."""
        if self._nap.on:
            self._safely(self._settle)
            self._wake()

    def left(self, optimizer: torch.optim.Optimizer) -> None:
        """Another optimizer has taken the place of this one."""
        self._roused()
        self._optimizers = [kept for kept in self._optimizers if kept is not optimizer]
        self._recorder.left(optimizer)
        self._pulse.left(optimizer)

    def begin_step(self, optimizer: torch.optim.Optimizer) -> None:
        """A step of the training begins."""
        try:
            self._arrived = time.perf_counter()
            if self._nap.on:
                self._roused()
            if self._rerun is not None:
                self._rerun.rest()
            if count(optimizer) != self._held.get(id(optimizer)):
                self._renew()
            self._recorder.begin_step(optimizer)
            self._pulse.begin_step(self.steps - 1, self._recorder.noted, self._recorder.rate)
        except Exception as error:
            self._step_aside(error)

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer is about to step."""
        if not self.failed:
            try:
                self._before(optimizer)
            except Exception as error:
                self._step_aside(error)
        if self._guard is not None:
            self._guard.before_step(optimizer, self.steps - 1)

    def _before(self, optimizer: torch.optim.Optimizer) -> None:
        begin = self._arrived or time.perf_counter()
        charged = self.governor.own
        noted = self._recorder.noted
        if self._measuring.first is None and noted is not None:
            self._measuring.seen_bare(float(noted))
        self._pulse.before_step(optimizer)
        self._recorder.before_step(optimizer)
        self._box.before_step(optimizer, self.steps - 1)
        beat = self._pulse.beat
        if beat is not None:
            beat.clips += self._scaling.clips
            beat.refused = found(optimizer)
        self._scaling.stepped()
        self._arrived = 0.0
        took = time.perf_counter() - begin - (self.governor.own - charged)
        self._price += took
        self.governor.spend("light" if self._pulse.light else "row", took)

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer has stepped."""
        if self.failed:
            return
        try:
            self._recorder.after_step(optimizer)
            self._box.after_step(optimizer)
        except Exception as error:
            self._step_aside(error)

    def end_step(self) -> None:
        """The step is over: write it down and decide what comes next."""
        if self.failed:
            self._safely(self._measuring.leave)
            return
        try:
            self._ended()
            self._measuring.leave()
            self._box.end_step()
            if self._open:
                self._plan()
        except Exception as error:
            self._step_aside(error)
