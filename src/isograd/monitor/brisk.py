"""The cheap tier for steps of a millisecond: norms now, everything else for many steps at once.

There one fused norm takes little longer than the Python around it. So for a few steps nothing is
done but to take the norms; then their rows are made and judged together, still within a tenth of
a second.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isograd.monitor.beat import Beat
from isograd.monitor.norms import fused_norms

# Rows that are made together.
MOST = 16


class Brisk:
    """Norms of some steps of one optimizer that holds the parameters.

    Args:
        parameters: Those that the optimizer holds.
        where: Their places in a row.
        count: Length of a row.
    """

    def __init__(self, parameters: list[Tensor], where: Any, count: int) -> None:
        self._parameters = parameters
        self._where = where
        self._count = count
        self._taken: list[list[Tensor]] = []
        self._beats: list[Beat] = []

    def look(self) -> None:
        """Take the norms of the gradients; nothing waits.

        Raises:
            RuntimeError: If there are none, or not for all, or not in one pass.
        """
        gradients = [gradient for p in self._parameters if (gradient := p.grad) is not None]
        if len(gradients) < len(self._parameters):
            raise RuntimeError("some parameter has no gradient")
        with torch.no_grad():
            self._taken.append(fused_norms(gradients))

    def step(self, step: int, loss: Tensor | float | None, rate: float) -> Beat:
        """The step was taken.

        Returns:
            Its row, to which the norms come later.
        """
        beat = Beat(step, loss, rate, np.zeros(0), True)
        self._beats.append(beat)
        return beat

    def drain(self) -> list[Beat]:
        """All rows, complete but for clipping."""
        beats, self._beats = self._beats, []
        taken, self._taken = self._taken, []
        if not beats:
            return []
        flat = torch.stack([norm for norms in taken[: len(beats)] for norm in norms])
        values = flat.cpu().numpy().astype(np.float64).reshape(len(beats), -1)
        values[~np.isfinite(values)] = math.inf
        for beat, row in zip(beats, values, strict=True):
            beat.norms = np.full(self._count, math.nan)
            beat.norms[self._where] = row
        return beats
