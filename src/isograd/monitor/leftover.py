"""What lies in `.grad` when the next backward pass begins, seen at a few steps at next to no cost.

Whole records tell it too, but a net whose step takes less than a millisecond gets too few of them.
So after some of the first steps the norms of a few gradients are kept and taken again before each
backward pass up to the next step. A loop that clears leaves nothing before at least one of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from isograd.monitor.norms import norms

# Looks at all: the first few steps in a row, then each half as far again as the last one.
LOOKS = 8
_ROW = 4
_LATER = 1.5
# Gradients that stand for all: `zero_grad` clears all that an optimizer holds.
_SAMPLE = 4


class Leftover:
    """Looks at what one optimizer's gradients leave.

    Attributes:
        next: Number of steps after which it looks again.
        waits: True if the backward passes until the next step are to be looked at.
    """

    def __init__(self) -> None:
        self.waits = False
        self.next = 1
        self._sample: list[Tensor] = []
        self._norm = 0.0
        self._share: float | None = None

    def due(self, steps: int) -> bool:
        """True if what the step just taken leaves should be looked at; `steps` were taken."""
        return steps >= self.next

    def stepped(self, steps: int, parameters: Sequence[Tensor]) -> None:
        """A step was taken, its gradients are still there.

        Args:
            steps: Number of steps so far.
            parameters: Those that the optimizer holds.
        """
        self.next = steps + 1 if steps < _ROW else int(_LATER * steps) + 1
        there = [p for p in parameters if p.grad is not None]
        self._sample = there[:: -(-len(there) // _SAMPLE)] if there else []
        self._norm = self._now()
        self._share = None
        self.waits = 0 < self._norm < math.inf

    def look(self) -> None:
        """A backward pass begins."""
        if self._share != 0:  # what was cleared once is no leftover, whatever is added later
            share = self._now() / self._norm
            self._share = share if self._share is None else min(share, self._share)

    def taken(self) -> float | None:
        """Share of the last step's gradient that was left; None if nothing was looked at.

        The next step has begun.
        """
        share = self._share
        self.forget()
        return share if share is not None and math.isfinite(share) else None

    def forget(self) -> None:
        """Let go of what was kept; look no more until the next step."""
        self.waits, self._sample, self._share = False, [], None

    def _now(self) -> float:
        return math.hypot(*norms([p.grad for p in self._sample]))
