"""Least, greatest and last value of some series, column by column."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What made a value not finite.
NAN, INFINITE = 1, 2
Array = NDArray[Any]


class Block:
    """Least, greatest and last value of some series in each column.

    Attributes:
        low: [columns, series]; NaN where nothing finite was recorded.
        high: The same.
        last: The last value recorded, also if it is not finite.
        bad: [columns, series], bits `NAN` and `INFINITE`.
    """

    def __init__(self, columns: int, series: int, dtype: str) -> None:
        shape = (columns, series)
        self.low = np.full(shape, np.nan, dtype)
        self.high = np.full(shape, np.nan, dtype)
        self.last = np.full(shape, np.nan, dtype)
        self.bad = np.zeros(shape, np.uint8)

    def add(self, at: Array, starts: Array, values: Array, broken: Array) -> None:
        """Take rows in groups.

        Args:
            at: Columns of the groups, each once.
            starts: First row of each group.
            values: [rows, series].
            broken: [rows, series], True where NaN is a value and not a gap.
        """
        finite = np.isfinite(values)
        if finite.all():  # as nearly always, and much cheaper
            self.low[at] = np.fmin(self.low[at], np.minimum.reduceat(values, starts, axis=0))
            self.high[at] = np.fmax(self.high[at], np.maximum.reduceat(values, starts, axis=0))
            self.last[at] = values[np.append(starts[1:], len(values)) - 1]
            return
        inside = np.where(finite, values, np.nan)
        self.low[at] = np.fmin(self.low[at], np.fmin.reduceat(inside, starts, axis=0))
        self.high[at] = np.fmax(self.high[at], np.fmax.reduceat(inside, starts, axis=0))
        bits = (NAN * broken + INFINITE * np.isinf(values)).astype(np.uint8)
        self.bad[at] |= np.bitwise_or.reduceat(bits, starts, axis=0)
        known = finite | (bits > 0)
        rows = np.where(known, np.arange(len(values))[:, None], -1)
        latest = np.maximum.reduceat(rows, starts, axis=0)
        new = np.take_along_axis(values, np.maximum(latest, 0), axis=0)
        self.last[at] = np.where(latest >= 0, new, self.last[at])

    def join(self, target: Array, used: int) -> None:
        """Move column `i` to `target[i]`, where it may meet its neighbour."""
        starts = np.flatnonzero(np.diff(target, prepend=-1))
        known = ~np.isnan(self.last[:used]) | (self.bad[:used] > 0)
        rows = np.maximum.reduceat(np.where(known, np.arange(used)[:, None], 0), starts, axis=0)
        joined = {
            "low": np.fmin.reduceat(self.low[:used], starts, axis=0),
            "high": np.fmax.reduceat(self.high[:used], starts, axis=0),
            "last": np.take_along_axis(self.last[:used], rows, axis=0),
            "bad": np.bitwise_or.reduceat(self.bad[:used], starts, axis=0),
        }
        for name, values in joined.items():
            array = getattr(self, name)
            array[: len(values)] = values
            array[len(values) : used] = 0 if name == "bad" else np.nan

    def to_dict(self, at: Array) -> dict[str, str]:
        """Base64 of each array, [series, columns], at some columns."""
        return {name: packed(getattr(self, name)[at].T) for name in ("low", "high", "last", "bad")}


def packed(array: Array) -> str:
    """Base64 of an array's bytes, little-endian and in C order."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return base64.b64encode(little.tobytes()).decode()
