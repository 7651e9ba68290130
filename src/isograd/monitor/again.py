"""Runs somebody's program once more, up to the step that went wrong, under a hunt.

Costs nothing while the training runs and needs nothing of it but its command line; the program
has to do the same again, which the generators of Python and NumPy are set for.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from isograd.capture.hunt import Hunt
from isograd.monitor.clock import Clock
from isograd.monitor.finder import Finder
from isograd.monitor.launch import Ending, run_program
from isograd.records.bad_step import BadStep

# Steps before the one whose loss was seen to be bad: its weights may have been bad before it.
BEFORE = 2
_running = [False]


class _Enough(BaseException):
    """What is wanted is known: the program need not go on."""


class Again:
    """Hunts in some steps of one training of a program.

    Args:
        first: The hunt begins before this step, from 0.
        last: And ends after this one.
        part: Which of the trainings of the program, from 0.

    Attributes:
        bad: What was found.
        steps: Steps taken.
    """

    def __init__(self, first: int, last: int, part: int = 0) -> None:
        self.bad: BadStep | None = None
        self.steps = 0
        self._first = first
        self._last = last
        self._skip = part
        self._hunt: Hunt | None = None
        self._clock: Clock | None = None
        self._model: nn.Module | None = None

    def run(self, program: Sequence[str], module: bool, start: dict[str, Any]) -> Ending | None:
        """Run the program.

        Args:
            program: Its file or module and its arguments.
            module: True for a module.
            start: What `generators` said when it ran before, or empty.

        Returns:
            How it ended; None if it was stopped here.
        """
        _set(start)
        finder = Finder(self._found)
        finder.open()
        _running[0] = True
        try:
            ending = run_program(program, module)
        finally:
            _running[0] = False
            finder.close()
            with contextlib.suppress(Exception):
                self._leave()
        stopped = isinstance(ending.error, _Enough)
        if self._hunt is not None and self.bad is None:
            left = ending.left if ending.code else None
            if not stopped and (ending.error or left) is not None:
                self._hunt.saw_error(ending.error or left or _Enough())
            self._note(self.steps)
        return None if stopped else ending

    def _found(self, model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> None:
        if self._skip or self._clock is not None:
            self._skip -= 1
            return
        self._model = model
        self._clock = Clock(model, optimizers, self)
        self._clock.open()
        if self._first <= 0:
            self._begin()

    def _begin(self) -> None:
        self._hunt = Hunt(self._model)
        self._hunt.__enter__()

    def _leave(self) -> None:
        if self._clock is not None:
            self._clock.close()
        if self._hunt is not None:
            self._hunt.__exit__(None, None, None)

    def _note(self, step: int) -> bool:
        if self._hunt is not None and self._hunt.found is not None and self.bad is None:
            self.bad = replace(self._hunt.found, step=step, how="the program was run again")
        return self.bad is not None

    def adopted(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer of the model was found."""

    def left(self, optimizer: torch.optim.Optimizer) -> None:
        """Another optimizer has taken the place of this one."""

    def begin_step(self, optimizer: torch.optim.Optimizer) -> None:
        """A step begins."""

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer is about to step."""

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer has stepped."""

    def end_step(self) -> None:
        """A step is over.

        Raises:
            _Enough: If it is known where it began, or all steps were looked at.
        """
        step = self.steps
        self.steps += 1
        if self._note(step) or step >= self._last:
            raise _Enough
        if self.steps == self._first and self._hunt is None:
            self._begin()


def running() -> bool:
    """True while a program is run again: it writes no new run file."""
    return _running[0]


def generators() -> dict[str, Any]:
    """State of Python's and NumPy's generators as plain data, and where the program runs.

    Torch's own begin every process alike.
    """
    version, state, gauss = random.getstate()
    kind, keys, position, has, cached = np.random.get_state()
    return {
        "directory": os.getcwd(),
        "python": [version, list(state), gauss],
        "numpy": [kind, [int(key) for key in keys], int(position), int(has), float(cached)],
    }


def _set(start: dict[str, Any]) -> None:
    if "python" in start:
        version, state, gauss = start["python"]
        random.setstate((version, tuple(state), gauss))
    if "numpy" in start:
        kind, keys, position, has, cached = start["numpy"]
        np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has, cached))
