"""One training as it was recorded: numbers of every step, and what was said about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from isograd.records import codec
from isograd.records.finding import Finding
from isograd.records.snapshot import Snapshot

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Event:
    """An alarm, or a text, at one step.

    Attributes:
        step: Training step.
        name: What kind of event, such as `spike`; "text" for plain words.
        message: One sentence.
        time: Unix time in seconds, or 0.0.
        data: Further plain values.
    """

    step: int
    name: str
    message: str
    time: float = 0.0
    data: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Damage:
    """A part of a file that could not be read.

    Attributes:
        file: Name of the file.
        offset: Where the part begins, in bytes.
        length: Its length, in bytes.
        reason: What was wrong.
        records: Number of records lost, or None if it cannot be known.
    """

    file: str
    offset: int
    length: int
    reason: str
    records: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rows of one layout.

    Attributes:
        names: Names of the parameters (or modules).
        statistics: What was measured of each.
        scalars: Names of the numbers that belong to the whole step.
        at: Positions of the rows in the steps of `Rows`; int array [rows].
        values: [rows, names, statistics], float32 or float64.
        numbers: [rows, scalars], float64.
    """

    names: tuple[str, ...]
    statistics: tuple[str, ...]
    scalars: tuple[str, ...]
    at: Integers
    values: Floats
    numbers: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Numbers over steps; the layout may change on the way.

    Attributes:
        steps: Step numbers, strictly increasing; int array [steps].
        tables: Each step is a row of exactly one of them; several may have the same layout.
        flagged: True at steps that were marked as anomalous; bool array [steps].
    """

    steps: Integers
    tables: tuple[Table, ...] = ()
    flagged: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order first seen."""
        return tuple(dict.fromkeys(name for table in self.tables for name in table.names))

    @property
    def statistics(self) -> tuple[str, ...]:
        """All statistics, in the order first seen."""
        return tuple(dict.fromkeys(s for table in self.tables for s in table.statistics))

    def series(self, name: str, statistic: str) -> Floats:
        """One statistic of one name at each step.

        Args:
            name: One of `names`.
            statistic: One of `statistics`.

        Returns:
            [steps]; NaN where it was not recorded. Float64 if any part of it is.

        Raises:
            KeyError: If the name or the statistic is unknown; the message lists near ones.
        """
        if name not in self.names:
            raise KeyError(_unknown("name", name, self.names))
        if statistic not in self.statistics:
            raise KeyError(_unknown("statistic", statistic, self.statistics))
        parts = [
            (table.at, table.values[:, table.names.index(name), table.statistics.index(statistic)])
            for table in self.tables
            if name in table.names and statistic in table.statistics
        ]
        return self._joined(parts)

    def scalars(self) -> dict[str, Floats]:
        """Each scalar at each step, [steps]; NaN where it was not recorded."""
        names = dict.fromkeys(name for table in self.tables for name in table.scalars)
        return {
            name: self._joined(
                [
                    (table.at, table.numbers[:, table.scalars.index(name)])
                    for table in self.tables
                    if name in table.scalars
                ]
            )
            for name in names
        }

    def take(self, steps: Integers) -> Rows:
        """Only the rows at some steps; steps that were not recorded are left out."""
        keep = np.isin(self.steps, steps)
        position = np.cumsum(keep) - 1
        tables: list[Table] = []
        for table in self.tables:
            rows = keep[table.at]
            if rows.any():
                tables.append(
                    replace(
                        table,
                        at=position[table.at[rows]],
                        values=table.values[rows],
                        numbers=table.numbers[rows],
                    )
                )
        return Rows(self.steps[keep], tuple(tables), self.flagged[keep])

    def _joined(self, parts: list[tuple[Integers, Floats]]) -> Floats:
        dtype = np.result_type(*(values.dtype for _, values in parts)) if parts else np.float64
        out = np.full(len(self.steps), np.nan, dtype)
        for at, values in parts:
            out[at] = values
        return out


class Snapshots(Sequence[Snapshot]):
    """Snapshots of a run, decoded when asked for.

    Args:
        encoded: `(step, data)` of each, as `codec.encode` made it.
    """

    __slots__ = ("_decoded", "_encoded")

    def __init__(self, encoded: Sequence[tuple[int, dict[str, Any]]] = ()) -> None:
        self._encoded = tuple(encoded)
        self._decoded: dict[int, Snapshot] = {}

    @property
    def steps(self) -> tuple[int, ...]:
        """Step of each snapshot."""
        return tuple(step for step, _ in self._encoded)

    def __len__(self) -> int:
        return len(self._encoded)

    @overload
    def __getitem__(self, index: int) -> Snapshot: ...
    @overload
    def __getitem__(self, index: slice[Any, Any, Any]) -> tuple[Snapshot, ...]: ...
    def __getitem__(self, index: int | slice[Any, Any, Any]) -> Snapshot | tuple[Snapshot, ...]:
        if isinstance(index, slice):
            return tuple(self[at] for at in range(*index.indices(len(self))))
        at = range(len(self))[index]
        if at not in self._decoded:
            self._decoded[at] = codec.decode(Snapshot, self._encoded[at][1])
        return self._decoded[at]

    def __iter__(self) -> Iterator[Snapshot]:
        return (self[at] for at in range(len(self)))


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What one rank recorded of one training.

    Attributes:
        meta: Facts of the training: command, versions, git commit, host, start, and the caller's.
        rank: Whose numbers these are.
        ranks: All ranks that left a file.
        rows: Scalars and parameter statistics at each step.
        layers: Sampled forward statistics; their steps are few.
        findings: Verdicts of rules, in the order written.
        events: Alarms and texts, in the order written.
        snapshots: Measurements of whole steps; `snapshots.steps` tells when.
        verdict: What was concluded, in one line; None if it is still running or was interrupted.
        ok: True if it ended without an alarm; None if that is not known.
        ending: How the program ended, if it did not end well by itself.
        damage: Parts that could not be read.
    """

    meta: dict[str, Any]
    rank: int
    ranks: tuple[int, ...]
    rows: Rows
    layers: Rows
    findings: tuple[Finding, ...] = ()
    events: tuple[Event, ...] = ()
    snapshots: Snapshots = field(default_factory=Snapshots)
    verdict: str | None = None
    ok: bool | None = None
    ending: str = ""
    damage: tuple[Damage, ...] = ()

    @property
    def steps(self) -> Integers:
        """Recorded steps, strictly increasing."""
        return self.rows.steps

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return self.rows.names

    @property
    def statistics(self) -> tuple[str, ...]:
        """What was measured of each parameter."""
        return self.rows.statistics

    @property
    def scalars(self) -> dict[str, Floats]:
        """Numbers of the whole step, such as `loss`; `time` is Unix time in seconds."""
        return self.rows.scalars()

    def series(self, name: str, statistic: str) -> Floats:
        """One statistic of one parameter at each of `steps`; NaN where it was not recorded.

        Raises:
            KeyError: If the name or the statistic is unknown; the message lists near ones.
        """
        return self.rows.series(name, statistic)

    def take(self, steps: Integers) -> Run:
        """The same run with its rows at some steps only."""
        return replace(self, rows=self.rows.take(steps))


def _unknown(what: str, name: str, known: Sequence[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or list(known)[:3]
    return f"no {what} {name!r}; near ones: {', '.join(near) or 'none'}"
