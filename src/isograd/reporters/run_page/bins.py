"""Numbers over steps in a bounded number of columns, for a page.

A column stands for `width` steps, a power of two, and keeps of every series the least, the
greatest and the last value recorded in it: what is shown is a recorded value, never a mean. When
the columns run out, neighbours are joined and the width doubles. Rows around anomalies and the
latest ones are kept whole beside the columns. `assets/bins.js` does the same in the browser, so
that a page that follows a training shows what a page made afterwards does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isograd.records.run import Rows
from isograd.reporters.run_page.block import Block
from isograd.reporters.run_page.block import packed as packed
from isograd.reporters.run_page.whole import Whole

COLUMNS = 1024
LEAST_COLUMNS = 256
# What a page may hold, in cells: about 14 bytes each.
CELLS = 1 << 20
RATIO = "update_ratio"
_CHUNK = 4096
Array = NDArray[Any]


class Bins:
    """A table of a run in columns.

    Args:
        names: Names of the rows of the picture: parameters or modules.
        statistics: What was measured of each.
        scalars: Numbers of the whole step.
        dtype: `float32` or `float64`, of the statistics; scalars are float64.

    Attributes:
        width: Steps a column stands for.
        start: Number of the first column: its first step is `start * width`.
        used: Columns in use.
        rows: Rows taken.
        last_step: The latest step, or -1.
        whole: Rows kept as they were.
    """

    def __init__(
        self,
        names: Sequence[str],
        statistics: Sequence[str],
        scalars: Sequence[str] = (),
        dtype: str = "float32",
    ) -> None:
        self.names, self.statistics = tuple(names), tuple(statistics)
        self.scalars, self.dtype = tuple(scalars), dtype
        series = len(self.names) * len(self.statistics)
        columns = COLUMNS
        while columns > LEAST_COLUMNS and columns * series > CELLS:
            columns //= 2
        self.columns = columns
        self.width, self.start, self.used, self.rows, self.last_step = 1, 0, 0, 0, -1
        self.count = np.zeros(columns, np.uint32)
        self.first = np.zeros(columns)
        self.end = np.zeros(columns)
        self.flagged = np.zeros(columns, np.uint8)
        self.numbers = Block(columns, len(self.scalars), "float64")
        self.cells = Block(columns, series, dtype)
        self.whole = Whole(len(self.scalars), series, dtype)

    def extend(self, steps: Array, flagged: Array, numbers: Array, values: Array) -> None:
        """Take further rows.

        Args:
            steps: [rows], growing and above all before.
            flagged: [rows], True at steps marked as anomalous.
            numbers: [rows, scalars].
            values: [rows, names, statistics].
        """
        if not len(steps):
            return
        self._room(int(steps[0]), int(steps[-1]))
        self.whole.extend(steps, flagged, numbers, values)
        for begin in range(0, len(steps), _CHUNK):
            part = slice(begin, begin + _CHUNK)
            self._take(steps[part], flagged[part], numbers[part], values[part])
        self.rows += len(steps)
        self.last_step = int(steps[-1])

    def mark(self, step: int) -> None:
        """Keep the rows around a step whole."""
        self.whole.mark(step)

    def to_dict(self) -> dict[str, Any]:
        """What the page reads: arrays in base64, little-endian."""
        at = np.flatnonzero(self.count)  # of sampled numbers most columns are empty
        return {
            "names": self.names,
            "statistics": self.statistics,
            "scalars": self.scalars,
            "dtype": self.dtype,
            "columns": self.columns,
            "width": self.width,
            "start": self.start,
            "used": self.used,
            "at": packed(at.astype(np.uint32)),
            "rows": self.rows,
            "lastStep": self.last_step,
            "count": packed(self.count[at]),
            "first": packed(self.first[at]),
            "end": packed(self.end[at]),
            "flagged": packed(self.flagged[at]),
            "numbers": self.numbers.to_dict(at),
            "cells": self.cells.to_dict(at),
            "whole": self.whole.to_dict(),
        }

    def _take(self, steps: Array, flagged: Array, numbers: Array, values: Array) -> None:
        place = steps // self.width - self.start
        starts = np.flatnonzero(np.diff(place, prepend=-1))
        at = place[starts]
        new = self.count[at] == 0
        self.first[at] = np.where(new, steps[starts], self.first[at])
        ends = np.append(starts[1:], len(steps))
        self.end[at] = steps[ends - 1]
        self.count[at] += (ends - starts).astype(np.uint32)
        self.flagged[at] |= np.bitwise_or.reduceat(flagged.astype(np.uint8), starts)
        self.used = max(self.used, int(at[-1]) + 1)
        with np.errstate(invalid="ignore"):
            number_broken, broken = self._broken(numbers, values)
            self.numbers.add(at, starts, np.asarray(numbers, "f8"), number_broken)
            flat = np.asarray(values, self.dtype).reshape(len(steps), -1)
            self.cells.add(at, starts, flat, broken.reshape(len(steps), -1))

    def _broken(self, numbers: Array, values: Array) -> tuple[Array, Array]:
        """Where NaN is a value: a loss or a gradient, or at a step told to be not finite.

        A statistic that was not recorded at a step is NaN for all names.
        """
        told = np.zeros(len(numbers), bool)
        if "nonfinite" in self.scalars:
            told = numbers[:, self.scalars.index("nonfinite")] > 0
        measured = np.array([name in ("loss", "grad_norm") for name in self.scalars], bool)
        nan = np.isnan(values)
        there = ~nan.all(axis=1, keepdims=True)
        gradient = np.array([name == "grad_norm" for name in self.statistics], bool)
        broken = nan & told[:, None, None] & (there | gradient)
        return np.isnan(numbers) & told[:, None] & measured, broken

    def _room(self, first: int, last: int) -> None:
        if not self.rows:
            self.start = first // self.width
        while last // self.width - self.start >= self.columns:
            self._join(first)

    def _join(self, first: int) -> None:
        """Double the width."""
        used = self.used
        if not used:
            self.width *= 2
            self.start = first // self.width
            return
        target = (self.start + np.arange(used)) // 2 - self.start // 2
        starts = np.flatnonzero(np.diff(target, prepend=-1))
        count, first_step, end = self.count[:used], self.first[:used], self.end[:used]
        # An empty column has no first step of its own.
        begins = np.minimum.reduceat(np.where(count > 0, first_step, np.inf), starts)
        ends = np.maximum.reduceat(np.where(count > 0, end, -np.inf), starts)
        counts = np.add.reduceat(count, starts)
        flags = np.bitwise_or.reduceat(self.flagged[:used], starts)
        self.numbers.join(target, used)
        self.cells.join(target, used)
        n = len(starts)
        for array, values in (
            (self.count, counts),
            (self.first, np.where(counts > 0, begins, 0)),
            (self.end, np.where(counts > 0, ends, 0)),
            (self.flagged, flags),
        ):
            array[:n] = values
            array[n:used] = 0
        self.width *= 2
        self.start //= 2
        self.used = n


def binned(rows: Rows, marks: Iterable[int] = ()) -> Bins | None:
    """All rows of a run's table.

    Args:
        rows: The table; its layout may change on the way.
        marks: Steps around which rows are kept whole.

    Returns:
        None if there is no row.
    """
    if not len(rows.steps):
        return None
    bins = Bins(*columns(rows))
    for step in marks:
        bins.mark(step)
    for begin in range(0, len(rows.steps), _CHUNK):
        bins.extend(*aligned(rows, begin, min(begin + _CHUNK, len(rows.steps)), bins))
    return bins


def columns(rows: Rows) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], str]:
    """Names, statistics, scalars and dtype over all layouts of a table."""
    scalars = dict.fromkeys(name for table in rows.tables for name in table.scalars)
    double = any(table.values.dtype.itemsize == 8 for table in rows.tables)
    dtype = "float64" if double else "float32"
    return rows.names, with_derived(rows.statistics), tuple(scalars), dtype


def with_derived(statistics: tuple[str, ...]) -> tuple[str, ...]:
    """The statistics and what follows from them: `update_ratio`, update norm / weight norm."""
    known = {"update_norm", "weight_norm"} <= set(statistics) and RATIO not in statistics
    return (*statistics, RATIO) if known else statistics


def derive(values: Array, statistics: tuple[str, ...]) -> None:
    """Fill in what follows from other statistics, [rows, names, statistics]."""
    if RATIO not in statistics or not {"update_norm", "weight_norm"} <= set(statistics):
        return
    update, weight = (
        values[..., statistics.index(f"{name}_norm")] for name in ("update", "weight")
    )
    ratio = values[..., statistics.index(RATIO)]
    with np.errstate(divide="ignore", invalid="ignore"):
        np.copyto(ratio, update / weight, where=np.isnan(ratio) & (weight > 0))


def aligned(rows: Rows, begin: int, end: int, bins: Bins) -> tuple[Array, Array, Array, Array]:
    """Rows `begin` to `end` in the columns of the bins; NaN where there is none."""
    count = end - begin
    numbers = np.full((count, len(bins.scalars)), np.nan)
    values = np.full((count, len(bins.names), len(bins.statistics)), np.nan, bins.dtype)
    wide = len(rows.statistics)
    for table in rows.tables:
        # Positions grow within a table.
        a, b = np.searchsorted(table.at, (begin, end))
        if a == b:
            continue
        at = table.at[a:b] - begin
        where = [bins.scalars.index(name) for name in table.scalars]
        numbers[at[:, None], where] = table.numbers[a:b]
        if table.names == bins.names and table.statistics == bins.statistics[:wide]:
            values[at, :, :wide] = table.values[a:b]
            continue
        i = np.array([bins.names.index(name) for name in table.names], int)
        j = np.array([bins.statistics.index(name) for name in table.statistics], int)
        values[at[:, None, None], i[:, None], j] = table.values[a:b]
    derive(values, bins.statistics)
    return rows.steps[begin:end], rows.flagged[begin:end], numbers, values
