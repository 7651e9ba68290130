"""Whole steps of the user's that are measured like a probe: the first, then ever more rarely."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from isograd.capture.missing import without_ops
from isograd.capture.sighting import Sighting
from isograd.monitor.governor import Governor
from isograd.records.snapshot import Snapshot

# Measured at these steps if it can be paid, else as soon as it can; then at half as many again.
_FIRST = (10, 50, 100)
_LATER = 1.5


class Measuring:
    """Measures a step now and then.

    Args:
        model: The model in training.
        governor: Whose purse `probe` pays.

    Attributes:
        first: The first measurement, or None.
        latest: The newest one.
        next: Number of the step to measure next, if it can be paid.
    """

    def __init__(self, model: nn.Module, governor: Governor) -> None:
        self.first: Snapshot | None = None
        self.latest: Snapshot | None = None
        self._model = model
        self._governor = governor
        self._sighting: Sighting | None = None
        self._aimed = False
        self._taken: Snapshot | None = None
        self.next = _FIRST[0]
        self._blind = False

    def begin(self) -> None:
        """Tag what runs from here on, up to the next backward pass."""
        self.leave()
        if self._blind:
            return
        self._aimed = False
        self._sighting = Sighting(self._model)
        self._sighting.begin()

    def around(
        self,
        root: Tensor | None,
        run: Callable[[], None],
        safely: Callable[[Callable[[], Any]], Any],
    ) -> None:
        """Run a backward pass of the user's, hooked if it is to be measured.

        Args:
            root: Where it starts.
            run: Does it; only its own errors come out.
            safely: Runs our own code.
        """
        sighting = self._sighting
        if sighting is None or self._aimed:
            run()
            return
        self._aimed = True
        ready = safely(lambda: sighting.aim(root))
        run()
        if ready:
            taken = safely(sighting.take)
            if isinstance(taken, Snapshot):
                self.first = self.first or taken
                self.latest = self._taken = taken

    def taken(self) -> Snapshot | None:
        """What was measured in this step; asked once."""
        taken, self._taken = self._taken, None
        return taken

    @property
    def on(self) -> bool:
        """True if this step was to be measured, so that it took longer."""
        return self._sighting is not None

    def next_step(self, steps: int) -> None:
        """Step number `steps` comes next: measure it if it is time and can be paid."""
        if self._blind or (steps < self.next and self.first is not None):
            return
        if self.first is not None and not self._governor.due("probe"):
            return
        self.next = next((s for s in _FIRST if s > steps), int(steps * _LATER) + 1)
        begin = time.perf_counter()
        self.begin()
        self._governor.spend("probe", time.perf_counter() - begin)

    def give_up(self) -> None:
        """Measure no more: ops cannot be seen."""
        self._blind, self.next = True, sys.maxsize
        self.leave()

    def seen_bare(self, loss: float) -> None:
        """Take what can be seen without ops, from the gradients that are there."""
        if self._blind and self.first is None:
            self.first = self.latest = without_ops(self._model, loss)

    def leave(self) -> None:
        """Take everything off."""
        if self._sighting is not None:
            sighting, self._sighting = self._sighting, None
            sighting.leave()
