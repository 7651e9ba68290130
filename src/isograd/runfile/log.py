"""The files of one rank as one growing log that stays under a limit."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from isograd.runfile import environment, segments
from isograd.runfile.appender import Appender
from isograd.runfile.dense import Dense
from isograd.runfile.frames import (
    HEAD,
    MAGIC,
    ROWS,
    VERSION,
    Flag,
    Frame,
    Kind,
    decode_json,
    encode,
    encode_json,
)
from isograd.runfile.layout import Layout
from isograd.runfile.scan import Scan
from isograd.runfile.thinning import LOOK, Segment, Summary, Thinning

# A file is closed at this share of the limit, and holds a few rows at least.
_FILES = 32
_ROWS = 2
_HEADER_BYTES = 2048
# Bytes of old files that are worked through per byte written: keeps up, and is little at a time.
_PACE = 4
_MOST_AT_ONCE = 8 * _FILES
# Thinning must have made this much room, in files, before the next is begun: it grows by one
# and a record, and a rewrite may need three for the new file.
_ROOM = 5
# Thinning begins when this much is left.
_EARLY = 8
# Steps around anomalies stay dense while they take less than this share of the limit.
_DENSE_SHARE = 4
_STEP, _LAYERS = map(int, ROWS)
# A run that another living process wrote so lately is not taken over.
_BUSY_SECONDS = 60.0


class Log:
    """Appends frames, closes full files, and has old ones thinned.

    Args:
        directory: The run directory.
        rank: Which process this is.
        world_size: Number of processes.
        limit: Bytes that all files may take together; raised if not even a few rows would fit.
        margin: Rows before and after an anomaly that are not thinned.
        meta: Facts to store beside the process's own.

    Attributes:
        limit: The same, after that.
        segment_bytes: A file is closed when it is that long.
        dense: Steps that are not thinned.
        declared: Schemas whose layout stands in the present file.
        first_schema: First number that a new layout may take.
        other_bytes: Bytes that all but rows take.
        full: True once a text was dropped for want of room.
    """

    def __init__(
        self,
        directory: Path,
        *,
        rank: int,
        world_size: int,
        limit: int,
        margin: int,
        meta: dict[str, Any],
    ) -> None:
        self.limit = limit
        self.dense = Dense(margin)
        self.declared: set[int] = set()
        self.first_schema = 0
        self.other_bytes = 0
        self.full = False
        self._directory = directory
        self._rank = rank
        self._facts = {**environment.facts(), **meta}
        self._world_size = world_size
        self.segment_bytes = self._row_bytes = 0
        self._number = 0
        self._session = 0
        self._seq = 0
        self._first_step: int | None = None
        self._closed: list[Segment] = []
        self._summary = Summary()
        self._thinning: Thinning | None = None
        self._file = Appender()
        self._keep: int | None = None
        self._latest: dict[str, Any] = {}
        self._ended = False
        self._stuck_bytes = 0
        # Files of the latest rows, whose neighbours may yet turn out to be anomalous.
        self._recent: deque[int] = deque(maxlen=margin + 1)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._resume()
        except (OSError, ValueError):
            pass  # opening the file fails, too, and warns

    @property
    def path(self) -> Path:
        """The present file."""
        return self._directory / segments.file_name(self._rank, self._number)

    @property
    def failed(self) -> str:
        """Why the latest record was not kept, or ""."""
        return self._file.failed

    def begin(self, row_bytes: int) -> None:
        """Open the file.

        Args:
            row_bytes: Length of a usual row; a file holds several.
        """
        self._row_bytes = row_bytes + HEAD.size
        least = _ROWS * self._row_bytes + _HEADER_BYTES
        self.segment_bytes = max(self.limit // _FILES, least)
        self.limit = max(self.limit, _FILES * self.segment_bytes)
        resumed = self._keep is not None
        if resumed and self._busy():
            self._file.stop("another process writes this run; choose another name")
            return
        if self._file.open(self.path, self._opening(), keep=self._keep) and resumed:
            self.write(self._header(), Kind.HEADER)

    def next_seq(self, count: int = 1) -> int:
        """Number of the next record, or of the first of several."""
        self._seq += count
        return self._seq - count

    def declare(self, layout: Layout) -> None:
        """Append what rows of a layout mean."""
        frame = encode_json(
            Kind.LAYOUT, layout.to_dict(), seq=self.next_seq(), schema=layout.schema
        )
        if self.write(frame, Kind.LAYOUT):
            self.declared.add(layout.schema)

    def write(self, frame: bytes | bytearray, kind: int = 0, step: int | Sequence[int] = 0) -> bool:
        """Append a frame, or several of rows with their steps; True if they were kept."""
        steps = (step,) if isinstance(step, int) else step
        file = self._file
        lost = file.lost
        if not file.write(frame):
            return False
        if kind == _STEP:
            self._recent.extend([self._number] * len(steps))
        elif kind != _LAYERS:
            self.other_bytes += len(frame)
        if self._first_step is None and kind in (_STEP, _LAYERS):
            self._first_step = steps[0]
        for each in steps:
            self._summary.count(kind, each, len(frame))
        if lost:
            self._tell(lost)
        if self._thinning is not None:
            self._thin(len(frame))
        if file.size >= self.segment_bytes:
            self._rotate()
        return True

    def close(self) -> None:
        """Let the files go."""
        self._abandon()
        self._file.close()

    def _tell(self, lost: int) -> None:
        self._file.lost = 0
        text = f"{lost} records before this one could not be written"
        self._file.write(encode(Kind.TEXT, text.encode(), seq=self.next_seq()))

    def _header(self) -> bytes:
        head = self._head(self._number)
        return encode_json(Kind.HEADER, head, seq=self.next_seq(), schema=self._session)

    def _head(self, number: int) -> dict[str, Any]:
        return {
            "version": VERSION,
            "segment": number,
            "through": number,
            "generation": 0,
            "modulus": {},
            "session": self._session,
            "rank": self._rank,
            "world_size": self._world_size,
            "first_step": self._first_step,
            "meta": self._facts,
        }

    def _opening(self) -> bytes:
        return MAGIC + self._header()

    def _rotate(self) -> None:
        """Close the present file with an index and begin the next."""
        index = self._summary.to_dict(self.dense.intervals())
        if not self._file.write(encode_json(Kind.INDEX, index, seq=self.next_seq())):
            return
        self._closed.append(Segment(self._number, self._number, self.path, self._file.size, {}, 0))
        self._number += 1
        self._summary = Summary()
        self.declared.clear()
        self._file.open(self.path, self._opening())
        self._make_room()

    def _make_room(self) -> None:
        """Begin to thin early enough; finish at once what was too slow for the limit."""
        for _ in range(_MOST_AT_ONCE):
            if self._total() <= self.limit - _ROOM * self.segment_bytes:
                break
            if self._thinning is None and not self._plan():
                break
            self._thin(None)
        if self._total() > self.limit:
            self._file.stop(f"the limit of {self.limit} bytes is reached")
        if self._thinning is None and self._total() > self.limit - _EARLY * self.segment_bytes:
            self._plan()

    def _total(self) -> int:
        return self._stuck_bytes + self._file.size + sum(s.size for s in self._closed)

    def _plan(self) -> bool:
        """Choose what to thin next: the finest neighbours, of these the oldest."""
        newest = self._recent[0] if self._recent else 0
        closed = [segment for segment in self._closed if segment.through < newest]
        if not closed:
            return False
        pairs = [
            (max(one.coarseness, two.coarseness), at)
            for at, (one, two) in enumerate(pairwise(closed))
            if one.size + two.size <= 3 * self.segment_bytes
        ]
        if pairs:
            _, at = min(pairs)
            group = closed[at : at + 2]
        else:
            group = [min(closed, key=lambda segment: segment.coarseness)]
        dense = self.dense.intervals()
        if self.dense.rows * self._row_bytes > self.limit // _DENSE_SHARE:
            dense = dense[:0]  # where much is anomalous, nothing is; the limit counts more
        self._thinning = Thinning(
            tuple(group),
            dense,
            self._first_step or 0,
            self._head(group[0].number),
        )
        return True

    def _thin(self, written: int | None) -> None:
        """Go on thinning as far as is due; all of it if `written` is None."""
        thinning = self._thinning
        if thinning is None:
            return
        try:
            if written is None:
                thinning.finish()
            elif not thinning.advance(_PACE * (written + LOOK)):
                return
        except OSError:
            self._abandon()
            self._stuck_bytes += sum(source.size for source in thinning.sources)
            self._closed = [s for s in self._closed if s not in thinning.sources]
            return
        self._thinning = None
        if thinning.result is not None:
            at = self._closed.index(thinning.sources[0])
            self._closed[at : at + len(thinning.sources)] = [thinning.result]
        if self._total() > self.limit - _EARLY * self.segment_bytes:
            self._plan()

    def _abandon(self) -> None:
        if self._thinning is not None:
            self._thinning.abandon()
            self._thinning = None

    def _resume(self) -> None:
        """Learn from the files that are there already."""
        covered = -1
        files = segments.segments(self._directory, self._rank)
        for number, path in files:
            if number <= covered:
                path.unlink()  # its records were joined to an earlier file
                continue
            head = segments.header(path)
            covered = segments.through(number, head)
            self._closed.append(_segment(number, covered, path, head or {}))
            first = (head or {}).get("first_step")
            if self._first_step is None and isinstance(first, int):
                self._first_step = first
        for path in self._directory.glob(f"rank-{self._rank}*{segments.UNFINISHED}"):
            path.unlink()
        for segment in self._closed:
            index = segments.index(segment.path) or {}
            self.dense.extend([(int(a), int(b)) for a, b in index.get("dense", [])])
            self.other_bytes += int(index.get("other_bytes", 0))
        if self._closed:
            self._reopen(self._closed[-1])

    def _reopen(self, segment: Segment) -> None:
        """Take up the last file where its last whole record ends."""
        data = segment.path.read_bytes()
        marked = data.startswith(MAGIC)
        scan = Scan(data, len(MAGIC) if marked else 0, rows=False)
        kind = None
        for frame in scan:
            if not isinstance(frame, Frame):
                continue
            kind = frame.kind
            self._seq = max(self._seq, frame.seq + 1)
            if kind in (*ROWS, Kind.LAYOUT):
                self.first_schema = max(self.first_schema, frame.schema + 1)
            if kind in ROWS and self._first_step is None:
                self._first_step = frame.step
            if kind == Kind.STEP:
                self.dense.saw(frame.step, bool(frame.flags & Flag.ANOMALOUS))
            if kind == Kind.HEADER:
                self._session = max(self._session, frame.schema)
                self._latest = decode_json(frame)
            self._summary.count(kind, frame.step, HEAD.size + len(frame.payload))
        self._ended = kind in (Kind.VERDICT, Kind.INDEX)
        self._session = (self._session + 1) % (1 << 16)
        if not marked and data:  # not ours to touch, or damaged at its start
            self._number = segment.through + 1
        elif kind == Kind.INDEX or segment.generation:
            self._number = segment.through + 1
            self._summary = Summary()
        else:
            self._closed.pop()
            self._number, self._keep = segment.number, (scan.end if kind else 0)
            self.other_bytes += self._summary.other_bytes

    def _busy(self) -> bool:
        """True if the last writer of the file still lives, as far as can be seen."""
        facts = self._latest.get("meta", {})
        same_host = facts.get("host") == self._facts["host"]
        if self._ended or not same_host or facts.get("pid") in (None, os.getpid()):
            return False
        return alive(facts["pid"]) and time.time() - self.path.stat().st_mtime < _BUSY_SECONDS


def alive(pid: int) -> bool:
    """True if a process of this number runs on this machine, or that cannot be seen."""
    if os.name == "nt":  # there, signal 0 is no question
        return True
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError, TypeError):
        return False
    return True


def _segment(number: int, through: int, path: Path, head: dict[str, Any]) -> Segment:
    modulus = head.get("modulus")
    return Segment(
        number,
        through,
        path,
        path.stat().st_size,
        modulus if isinstance(modulus, dict) else {},
        int(head.get("generation") or 0),
    )
