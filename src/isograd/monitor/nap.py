"""Steps that pass unseen but for their losses, and for a look at the gradients now and then.

On a net whose step takes a millisecond a hundred bytecodes a step are the budget. So during a nap
nothing of ours lies around the step but two calls, one behind `backward` and one behind the
optimizer's step; what they gather is judged and written for many steps together.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from isograd.monitor.beat import Beat
from isograd.monitor.brisk import Brisk
from isograd.monitor.optimizers import rate
from isograd.monitor.scaling import Scaling, found

# Steps that are gathered, and seconds after which fewer are: alarms come no later than that.
MOST = 64
SECONDS = 0.1


def together(bare: float) -> int:
    """How many steps of this length in seconds are gathered; at least one."""
    return max(1, min(MOST, int(SECONDS / bare))) if bare > 0 else 1


class Nap:
    """Gathers what is known of each step.

    Args:
        scaling: Tells the loss behind a scaled one.
        broke: Told an error of our own.

    Attributes:
        losses: Loss of each step; None where no backward pass was seen.
        rates: Learning rate of each step.
        on: True while it gathers.
        looking: Seconds that looks at gradients took.
        odd: True if a look found gradients that one pass cannot take.
        loss: Of the latest backward pass.
        told: True if the program tells losses itself: one holds until it tells the next.
    """

    def __init__(self, scaling: Scaling, broke: Callable[[Exception], None]) -> None:
        self._scaling = scaling
        self._broke = broke
        self._room = 0
        self._high = 0.0
        self._first = 0
        self._brisk: Brisk | None = None
        self._every = 0
        self._next = -1
        self.on = False
        self.loss: Tensor | float | None = None
        self.told = False
        self.losses: list[Tensor | float | None] = []
        self.rates: list[float] = []
        self.looking = 0.0
        self.odd = False

    def begin(
        self,
        first: int,
        room: int,
        high: float,
        brisk: Brisk | None = None,
        every: int = 0,
    ) -> None:
        """Gather from here on.

        Args:
            first: Number of the next step.
            room: Steps to gather.
            high: A loss above this ends it early.
            brisk: What looks at the gradients.
            every: It does so at every so many steps; 0 for never.
        """
        self.on, self.odd = True, False
        self._first, self._room = first, room
        self._high = min(high, sys.float_info.max)  # so that an infinite loss is above it
        self._brisk, self._every = brisk, every
        self._next = every - 1 if brisk is not None and every else -1
        self._scaling.wanted = self._next == 0

    def heard(self, root: Any) -> None:
        """A backward pass from `root` has run."""
        try:
            if self._scaling.scales:
                root = self._scaling.true_loss(root)
            if isinstance(root, Tensor) and root.numel() == 1:
                self.loss = root.item() if root.is_cpu else root.detach()
        except Exception as error:
            self._broke(error)

    def look(self) -> None:
        """The optimizer is about to step: take the norms of its gradients, if it is time."""
        brisk = self._brisk
        if brisk is None or len(self.losses) != self._next:
            return
        begin = time.perf_counter()
        try:
            brisk.look()
        except Exception:  # what one pass cannot take; the rows so far are all
            self._brisk, self._room, self.odd = None, 0, True
        self.looking += time.perf_counter() - begin

    def stepped(self, optimizer: torch.optim.Optimizer) -> bool:
        """The optimizer has stepped.

        Returns:
            True if it is time to look at what was gathered.
        """
        loss = self.loss
        if not self.told:
            self.loss = None
        losses = self.losses
        if len(losses) == self._next:
            self._looked(optimizer, loss)
        losses.append(loss)
        self.rates.append(rate(optimizer))
        scaling, count = self._scaling, len(losses)
        scaling.wanted = count == self._next
        if scaling.clips:
            scaling.clips = []
        if count >= self._room:
            return True
        return loss.__class__ is float and not loss <= self._high  # type: ignore[operator]

    def _looked(self, optimizer: torch.optim.Optimizer, loss: Tensor | float | None) -> None:
        brisk, scaling = self._brisk, self._scaling
        if brisk is None:
            return
        beat = brisk.step(self._first + self._next, loss, rate(optimizer))
        beat.clips, beat.refused = scaling.clips, found(optimizer)
        beat.scale, beat.skipped = scaling.scale, scaling.skipped
        scaling.clips = []
        self._next += self._every

    def taken(self) -> tuple[list[Tensor | float | None], list[float], list[Beat]]:
        """Losses, rates and complete rows of the steps so far; asked once."""
        losses, rates = self.losses, self.rates
        self.losses, self.rates = [], []
        self._next -= len(losses)
        self._first += len(losses)
        return losses, rates, self._brisk.drain() if self._brisk is not None else []

    def end(self) -> None:
        """Gather no more; what was gathered has been taken."""
        self.on = False
        self._brisk = None
        self._scaling.wanted = True
