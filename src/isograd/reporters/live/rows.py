"""Rows that are new, gathered into one message for each table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from isograd.reporters.run_page.bins import Bins, derive, packed


class Batches:
    """Takes rows into the tables of a state, and into messages.

    Args:
        tables: `steps` and `layers`.
    """

    def __init__(self, tables: Mapping[str, Bins | None]) -> None:
        self._tables = tables
        self._rows: dict[str, list[tuple[int, bool, Any, Any]]] = {}

    def __bool__(self) -> bool:
        return any(self._rows.values())

    def add(self, record: Any, since: float) -> bool:
        """Take one row.

        Args:
            record: As `isograd.runfile.follow` yields it.
            since: Rows of `steps` up to this Unix time are known already.

        Returns:
            False if it does not fit the table.
        """
        layout = record.layout
        bins = self._tables[layout.table]
        if layout.table == "steps" and bins is not None and "time" in layout.scalars:
            if record.numbers[layout.scalars.index("time")] <= since:
                return True
        if bins is None or not fits(layout, bins):
            return False
        rows = self._rows.setdefault(layout.table, [])
        last = rows[-1][0] if rows else bins.last_step
        if record.step <= last:
            return False
        numbers = np.full(len(bins.scalars), np.nan)
        numbers[[bins.scalars.index(name) for name in layout.scalars]] = record.numbers
        values = np.full((len(bins.names), len(bins.statistics)), np.nan, bins.dtype)
        i = [bins.names.index(name) for name in layout.names]
        j = [bins.statistics.index(name) for name in layout.statistics]
        values[np.ix_(i, j)] = record.values
        derive(values[None], bins.statistics)
        rows.append((record.step, record.anomalous, numbers, values))
        return True

    def messages(self) -> Iterator[dict[str, Any]]:
        """Put the rows into their tables, and yield a message for each table."""
        for table, rows in self._rows.items():
            bins = self._tables[table]
            if not rows or bins is None:
                continue
            steps = np.array([row[0] for row in rows], np.int64)
            flagged = np.array([row[1] for row in rows], bool)
            numbers, values = (np.array([row[k] for row in rows]) for k in (2, 3))
            bins.extend(steps, flagged, numbers, values)
            yield {
                "table": table,
                "steps": packed(steps.astype("f8")),
                "flagged": packed(flagged.astype("u1")),
                "numbers": packed(numbers),
                "values": packed(values.reshape(len(rows), -1)),
            }


def fits(layout: Any, bins: Bins) -> bool:
    """True if a row of the layout has a place in the columns."""
    return (
        set(layout.names) <= set(bins.names)
        and set(layout.statistics) <= set(bins.statistics)
        and set(layout.scalars) <= set(bins.scalars)
        and not (layout.dtype == "float64" and bins.dtype == "float32")
    )
