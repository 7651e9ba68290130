"""Reads a run while it is written."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from isograd.records.run import Damage, Floats
from isograd.runfile import segments
from isograd.runfile.frames import MAGIC, ROWS, Flag, Frame, Kind, decode_json
from isograd.runfile.layout import Layout
from isograd.runfile.scan import Gap, Scan

_ATTEMPTS = 20


class Position(NamedTuple):
    """Where a reader stands; plain integers, so that it can be stored.

    Attributes:
        segment: Number of the file.
        offset: Bytes of it that were read.
        generation: How often that file had been rewritten; -1 if it was not opened yet.
        seq: Number of the last record read, -1 at the start.
    """

    segment: int = 0
    offset: int = 0
    generation: int = -1
    seq: int = -1


class Record(NamedTuple):
    """One record.

    Attributes:
        kind: What it is.
        step: Training step, or -1.
        data: The JSON object or text; of a row None.
        anomalous: True if its step was marked.
        layout: Of a row, what its numbers mean.
        numbers: Of a row, its scalars, [scalars].
        values: Of a row, [names, statistics].
    """

    kind: Kind
    step: int
    data: Any = None
    anomalous: bool = False
    layout: Layout | None = None
    numbers: Floats | None = None
    values: Floats | None = None


class Follower:
    """Iterating yields the complete records that are new; iterating again yields newer ones.

    Each record comes once, also when files are rewritten in between. A reader that falls far
    behind finds old steps thinned.

    Args:
        directory: The run directory; it may not exist yet.
        rank: Whose records.
        position: Where an earlier follower stood.

    Attributes:
        position: Where the next iteration goes on; right after each record it yields.
        damage: Parts that could not be read.
    """

    def __init__(self, directory: Path, rank: int, position: Position) -> None:
        self.position = position
        self.damage: list[Damage] = []
        self._directory = directory
        self._rank = rank
        self._layouts: dict[int, Layout] = {}
        self._fresh = True

    def __iter__(self) -> Iterator[Record]:
        misses = 0
        while misses < _ATTEMPTS:
            try:
                # Listed before reading: once a next file exists, this one grows no more.
                files = segments.segments(self._directory, self._rank)
                here = [item for item in files if item[0] <= self.position.segment] or files[:1]
                if not here:
                    return
                number, path = here[-1]
                last = yield from self._read(number, path)
            except FileNotFoundError:
                misses += 1
                continue
            later = [number for number, _ in files if number > last]
            if not later:
                return
            self.position = Position(later[0], seq=self.position.seq)

    def _read(self, number: int, path: Path) -> Generator[Record, None, int]:
        """Yield what is new in one file; returns the last segment it stands for."""
        head = segments.header(path)
        generation = (head or {}).get("generation")
        generation = generation if isinstance(generation, int) else 0
        same = self.position.segment == number and self.position.generation == generation
        offset = self.position.offset if same else len(MAGIC)
        begin = len(MAGIC) if self._fresh else offset  # a stored position: layouts lie before it
        self._fresh = False
        with path.open("rb") as file:
            file.seek(begin)
            data = file.read()
        scan = Scan(data, rows=False)
        for item in scan:
            end = begin + scan.end
            if isinstance(item, Gap):
                if end > offset:
                    self.damage.append(
                        Damage(path.name, begin + item.offset, item.length, "damaged")
                    )
            elif isinstance(item, Frame):
                new = item.seq > self.position.seq
                record = self._record(item, path.name, end)
                if end > offset:
                    seq = max(self.position.seq, item.seq)
                    self.position = Position(number, end, generation, seq)
                    if new and record is not None:
                        yield record
        self.position = Position(
            number, max(offset, begin + scan.end), generation, self.position.seq
        )
        return segments.through(number, head)

    def _record(self, frame: Frame, name: str, end: int) -> Record | None:
        anomalous = bool(frame.flags & Flag.ANOMALOUS)
        try:
            kind = Kind(frame.kind)
        except ValueError:
            return None  # of a newer version
        try:
            if kind == Kind.LAYOUT:
                layout = Layout.from_dict(decode_json(frame))
                self._layouts[layout.schema] = layout
                return Record(kind, frame.step, layout.to_dict())
            if kind in ROWS:
                layout = self._layouts.get(frame.schema)
                if layout is None or len(frame.payload) != layout.row_bytes:
                    raise ValueError("row of an unknown layout")
                rows = np.frombuffer(frame.payload, np.uint8).reshape(1, -1)
                numbers, values = layout.unpack(rows)
                return Record(kind, frame.step, None, anomalous, layout, numbers[0], values[0])
            if kind == Kind.TEXT:
                return Record(kind, frame.step, frame.payload.decode("utf-8", "replace"))
            return Record(kind, frame.step, decode_json(frame), anomalous)
        except ValueError as error:
            size = len(frame.payload)
            self.damage.append(Damage(name, end - size, size, str(error), 1))
            return None


def follow(
    path: str | os.PathLike[str], position: Position | None = None, rank: int = 0
) -> Follower:
    """Read a run while it is written.

    Args:
        path: The run directory; it may not exist yet.
        position: `Follower.position` of an earlier reader; by default the start.
        rank: Whose records.

    Returns:
        An object to iterate over again and again; it never waits.
    """
    return Follower(Path(path), rank, Position(*(position or ())))
