"""One row of the cheap tier."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from isograd.monitor.scaling import Clip


@dataclass(slots=True)
class Beat:
    """One step of the cheap tier.

    Attributes:
        step: Number of the step.
        loss: On the device until it is fetched; None if it is not known.
        rate: Learning rate.
        norms: Per parameter, what the optimizer saw, float64 [parameters]; NaN where there is
            none, infinite where it is not finite.
        measured: False if only the loss was noted.
        clips: How the gradients were clipped before the optimizer saw them.
        raw: Like `norms`, before clipping; the same array if nothing was clipped.
        scale: Loss scale, or NaN.
        skipped: Steps that a gradient scaler skipped so far.
        refused: True if the optimizer itself left this step out, told by a gradient scaler.
    """

    step: int
    loss: Tensor | float | None
    rate: float
    norms: np.ndarray
    measured: bool = False
    clips: list[Clip] = field(default_factory=list[Clip])
    raw: np.ndarray = field(default_factory=lambda: np.zeros(0))
    scale: float = math.nan
    skipped: Tensor | int = 0
    refused: Tensor | bool = False

    _total: float | None = None

    def total(self) -> float:
        """Norm of the whole gradient; NaN if it was not measured."""
        if not self.measured:
            return math.nan
        if self._total is None:
            self._total = whole(self.norms)
        return self._total

    def total_raw(self) -> float:
        """The same before clipping."""
        if self.raw is self.norms or not self.measured:
            return self.total()
        return whole(self.raw)


def whole(norms: np.ndarray) -> float:
    """Norm of all together; NaN entries are left out."""
    square = float(norms @ norms)
    if 1e-300 < square < math.inf:
        return math.sqrt(square)
    known = norms[~np.isnan(norms)]
    largest = float(known.max(initial=0.0))
    if not 0 < largest < math.inf:
        return largest
    return largest * float(np.sqrt(np.square(known / largest).sum()))
