"""The numbers of a run as rows, long or wide, in portions that fit in memory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isograd.records.run import Run, Table

# What stands in the column `statistic` of a number that belongs to the whole step.
SCALAR = ""
_CELLS = 1 << 20


class Long(NamedTuple):
    """Some rows of the long form; all arrays have one entry a row.

    Attributes:
        step: Training step.
        name: Position in `vocabulary(run)`'s names.
        statistic: Position in its statistics.
        value: float64; holds float32 exactly.
    """

    step: NDArray[np.int64]
    name: NDArray[np.int32]
    statistic: NDArray[np.int32]
    value: NDArray[np.float64]


def vocabulary(run: Run) -> tuple[list[str], list[str]]:
    """Names (scalars first) and statistics (the scalars' first) of the long form."""
    names = dict.fromkeys((*run.scalars, *run.parameters))
    return list(names), list(dict.fromkeys((SCALAR, *run.statistics)))


def long(run: Run) -> Iterator[Long]:
    """One row a number: step, name, statistic, value; ordered by step."""
    names, statistics = vocabulary(run)
    name_at = {name: at for at, name in enumerate(names)}
    statistic_at = {statistic: at for at, statistic in enumerate(statistics)}
    for table, rows in _portions(run):
        own = [name_at[name] for name in table.names]
        stats = [statistic_at[statistic] for statistic in table.statistics]
        name = [*(name_at[scalar] for scalar in table.scalars), *np.repeat(own, len(stats))]
        statistic = [*(0 for _ in table.scalars), *np.tile(stats, len(own))]
        value = _cells(table, rows)
        steps = run.steps[table.at[rows]]
        yield Long(
            np.repeat(steps, len(name)),
            np.tile(np.array(name, np.int32), len(steps)),
            np.tile(np.array(statistic, np.int32), len(steps)),
            value.reshape(-1),
        )


def columns(run: Run) -> list[str]:
    """Columns of the wide form beside `step`: scalars, then `name/statistic`."""
    found: dict[str, None] = {}
    for table in run.rows.tables:
        found.update(dict.fromkeys(_columns(table)))
    return list(found)


def wide(run: Run) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Steps, and the numbers [steps, columns]; NaN where one was not recorded."""
    names = columns(run)
    at = {name: position for position, name in enumerate(names)}
    for table, rows in _portions(run):
        out = np.full((rows.stop - rows.start, len(names)), np.nan)
        out[:, [at[name] for name in _columns(table)]] = _cells(table, rows)
        yield run.steps[table.at[rows]], out


def _columns(table: Table) -> list[str]:
    return [*table.scalars, *(f"{n}/{s}" for n in table.names for s in table.statistics)]


def _cells(table: Table, rows: slice) -> NDArray[Any]:
    values = table.values[rows].reshape(rows.stop - rows.start, -1)
    return np.concatenate([table.numbers[rows], values.astype(np.float64)], axis=1)


def _portions(run: Run) -> Iterator[tuple[Table, slice]]:
    """Neighbouring rows of one table at a time, in the order of steps."""
    pieces: list[tuple[int, Table, slice]] = []
    for table in run.rows.tables:
        size = max(1, _CELLS // max(1, len(table.names) * len(table.statistics)))
        # A table that another interrupts is cut there.
        cuts = [0, *(np.flatnonzero(np.diff(table.at) != 1) + 1).tolist(), len(table.at)]
        for first, last in pairwise(cuts):
            for begin in range(first, last, size):
                pieces.append((int(table.at[begin]), table, slice(begin, min(last, begin + size))))
    for _, table, rows in sorted(pieces, key=lambda piece: piece[0]):
        yield table, rows
