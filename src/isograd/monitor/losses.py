"""The loss of each step, also of those at which nothing else is affordable.

Quick steps are noted in memory and written together, a few microseconds for each. Where even that
is more than the budget has room for, every second, fourth, ... step is noted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isograd.monitor.governor import Governor
    from isograd.monitor.journal import Journal

# Seconds to note a step and to write it with others; `benchmarks/runfile.py` measures it.
COST = 3e-6
# Of the budget, what this may take.
_SHARE = 0.4
# Steps of which every one is noted: they tell most, and take a few milliseconds in all.
_FIRST = 1000
# Steps written together, and seconds after which fewer are.
_TOGETHER = 64
_SECONDS = 0.5


class Losses:
    """Notes losses and hands them to the run file.

    Args:
        journal: The run file.
        governor: Whose budget this takes from.
    """

    def __init__(self, journal: Journal, governor: Governor) -> None:
        self._journal = journal
        self._governor = governor
        self._steps: list[int] = []
        self._numbers: list[tuple[float, float]] = []
        self._since = time.time()
        self._every = 1
        self._left_out: tuple[int, float, float] | None = None

    def note(self, step: int, loss: Any, rate: float) -> None:
        """Note a step; a loss that lies on a device is left there."""
        if not isinstance(loss, float):
            return
        if step % self._every and step >= _FIRST:
            self._left_out = step, loss, rate
            return
        self._left_out = None
        self._steps.append(step)
        self._numbers.append((loss, rate))

    def many(self, first: int, losses: Sequence[Any], rates: Sequence[float]) -> None:
        """Note steps in a row, and write them if it is time."""
        if self._every == 1 and all(loss.__class__ is float for loss in losses):
            self._left_out = None
            self._steps.extend(range(first, first + len(losses)))
            self._numbers.extend(zip(losses, rates, strict=True))
        else:
            for at, loss in enumerate(losses):
                self.note(first + at, loss, rates[at])
        if self.due():
            self.flush()

    def written(self, before: int) -> None:
        """A whole row of a step is about to be written: those before it come first."""
        self._left_out = None
        while self._steps and self._steps[-1] >= before:
            self._steps.pop()
            self._numbers.pop()
        self.flush()

    def due(self) -> bool:
        """True if it is time to write."""
        many = len(self._steps) >= _TOGETHER
        return many or (bool(self._steps) and time.time() - self._since > _SECONDS)

    def finish(self) -> None:
        """The training is over: write what is left, and its last step in any case."""
        if self._left_out is not None:
            step, loss, rate = self._left_out
            self._steps.append(step)
            self._numbers.append((loss, rate))
        self.flush()

    def flush(self) -> None:
        """Write what was noted; the steps are spread evenly over the time since the last."""
        begin, now, count = time.perf_counter(), time.time(), len(self._steps)
        if count:
            each = (now - self._since) / count
            cost = self._governor.share
            rows = [
                (self._since + each * (at + 1), loss, rate, float(not math.isfinite(loss)), cost)
                for at, (loss, rate) in enumerate(self._numbers)
            ]
            self._journal.brief(self._steps, rows)
            self._steps, self._numbers = [], []
            self._governor.spend("loss", time.perf_counter() - begin)
        self._since = now
        budget, bare = self._governor.budget, self._governor.bare
        room = math.inf if budget is None else max(_SHARE * budget * bare, 1e-9)
        if room < COST:
            self._every = 1 << math.ceil(math.log2(COST / room))
        else:
            self._every = 1
