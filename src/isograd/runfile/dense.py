"""Which steps stay dense when a run is thinned: anomalies and what lies around them."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray


class Dense:
    """Intervals of steps, both ends included.

    Args:
        margin: Rows before and after an anomaly that belong to it.

    Attributes:
        rows: About how many rows lie in them.
    """

    def __init__(self, margin: int) -> None:
        self._margin = margin
        self._recent: deque[int] = deque(maxlen=margin + 1)
        self._after = 0
        self._intervals: list[tuple[int, int]] = []
        self.rows = 0

    def saw(self, step: int, anomalous: bool) -> None:
        """Note a row."""
        self._recent.append(step)
        if anomalous or self._after:
            self.rows += 1 if self._after else len(self._recent)
        if anomalous:
            self._add(self._recent[0], step)
            self._after = self._margin
        elif self._after:
            self._intervals[-1] = (self._intervals[-1][0], step)
            self._after -= 1

    def extend(self, intervals: list[tuple[int, int]]) -> None:
        """Note intervals that were stored."""
        self._intervals = intervals + self._intervals
        self.rows += sum(last - first + 1 for first, last in intervals)

    def intervals(self) -> NDArray[np.int64]:
        """Sorted, separate intervals [n, 2].

        >>> dense = Dense(margin=1)
        >>> for step in range(9):
        ...     dense.saw(step, anomalous=step in (3, 4, 7))
        >>> dense.intervals().tolist()
        [[2, 5], [6, 8]]
        """
        out: list[list[int]] = []
        for first, last in sorted(self._intervals):
            if out and first <= out[-1][1]:
                out[-1][1] = max(out[-1][1], last)
            else:
                out.append([first, last])
        return np.array(out, np.int64).reshape(-1, 2)

    def _add(self, first: int, last: int) -> None:
        if self._intervals and self._intervals[-1][0] <= first <= self._intervals[-1][1]:
            self._intervals[-1] = (self._intervals[-1][0], max(last, self._intervals[-1][1]))
        else:
            self._intervals.append((first, last))


def inside(steps: NDArray[np.int64], intervals: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which steps lie in an interval.

    >>> inside(np.array([1, 2, 5, 9]), np.array([[2, 5]])).tolist()
    [False, True, True, False]
    """
    if not len(intervals):
        return np.zeros(len(steps), bool)
    at = np.searchsorted(intervals[:, 0], steps, side="right") - 1
    return (at >= 0) & (steps <= intervals[at, 1])
