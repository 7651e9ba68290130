"""Rows that a page keeps as they were: around anomalies, and the latest."""

from __future__ import annotations

import base64
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

MARGIN = 8
LATEST = 128
# Rows kept for anomalies; the earliest count, as what comes first explains the rest.
MOST = 512
# Of wide rows fewer are kept: at least so many, and cells in all.
LEAST = 64
CELLS = 1 << 18
Array = NDArray[Any]
_Row = tuple[int, bool, Array, Array]


class Whole:
    """Takes rows and keeps some.

    Args:
        scalars: Length of a row's numbers.
        series: Length of a row's values.
        dtype: Of the values.

    Attributes:
        most: Rows kept for anomalies.
        latest: Latest rows kept.
    """

    def __init__(self, scalars: int, series: int, dtype: str) -> None:
        self._scalars, self._series, self._dtype = scalars, series, dtype
        self._kept: dict[int, _Row] = {}
        self.most = max(LEAST, min(MOST, CELLS // max(series, 1)))
        self.latest = min(LATEST, self.most)
        self._latest: deque[_Row] = deque(maxlen=self.latest)
        self._marks: set[int] = set()
        self._after = 0

    def mark(self, step: int) -> None:
        """Keep the rows around a step, whether it was taken or will be."""
        self._marks.add(step)
        near = [i for i, row in enumerate(self._latest) if row[0] >= step]
        if near:
            self._keep(list(self._latest)[max(0, near[0] - MARGIN) : near[0] + MARGIN + 1])
            self._after = max(self._after, MARGIN + 1 - (len(self._latest) - near[0]))

    def extend(self, steps: Array, flagged: Array, numbers: Array, values: Array) -> None:
        """Take rows; arguments as those of `Bins.extend`."""
        odd = np.asarray(flagged, bool) | np.isin(steps, list(self._marks))
        near = np.convolve(odd, np.ones(2 * MARGIN + 1, bool))[MARGIN : MARGIN + len(odd)] > 0
        near[: self._after] = True
        if odd[:MARGIN].any():  # its neighbours before came with the rows before
            back = MARGIN - int(np.argmax(odd[:MARGIN]))
            self._keep(list(self._latest)[-back:])
        wanted = near.copy()
        wanted[-self.latest :] = True
        flat = np.asarray(values, self._dtype).reshape(len(steps), self._series)
        for i in np.flatnonzero(wanted).tolist():
            row = (int(steps[i]), bool(flagged[i]), np.array(numbers[i], "f8"), flat[i].copy())
            if near[i]:
                self._keep([row])
            if i >= len(steps) - self.latest:
                self._latest.append(row)
        last = np.flatnonzero(odd)
        since = len(odd) - 1 - int(last[-1]) if len(last) else MARGIN + len(odd)
        self._after = max(MARGIN - since, self._after - len(odd), 0)

    def to_dict(self) -> dict[str, Any]:
        """Arrays in base64: steps, flags, numbers [rows, scalars], values [rows, series]."""
        rows = {**self._kept, **{row[0]: row for row in self._latest}}
        order = [rows[step] for step in sorted(rows)]
        parts = {
            "steps": np.array([row[0] for row in order], "<f8"),
            "flagged": np.array([row[1] for row in order], "u1"),
            "numbers": np.array([row[2] for row in order], "<f8"),
            "values": np.array([row[3] for row in order], np.dtype(self._dtype).newbyteorder("<")),
        }
        return {name: base64.b64encode(part.tobytes()).decode() for name, part in parts.items()}

    def _keep(self, rows: list[_Row]) -> None:
        for row in rows:
            if len(self._kept) < self.most:
                self._kept.setdefault(row[0], row)
