"""Rewrites old files with fewer rows, a little at a time.

A run of a million steps must fit its limit. When it comes near, the two oldest files of the
finest resolution are rewritten as one: of their rows those whose step is a multiple of a power of
two remain, and all near an anomaly. The work is cut into small portions that the writer does
after its own records, so that no step waits long. The new file is complete before it takes the
place of the first, and only then the second is removed: at every moment a reader finds every
step once.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import zlib
from array import array
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isograd.runfile.dense import inside
from isograd.runfile.frames import (
    CHECKED_FROM,
    HEAD,
    MAGIC,
    MARKER,
    MAX_PAYLOAD,
    ROWS,
    Kind,
    encode_json,
)
from isograd.runfile.scan import Gap, Scan
from isograd.runfile.segments import UNFINISHED, header

# A file is not worth rewriting unless this share of the rows, or more, goes.
_LEAVES = 0.6
# What a look at one frame costs, in bytes copied.
LOOK = 512
_BUFFER = 1 << 20
# Plain numbers: a look at an enum takes longer than all else that a step counts.
_STEP, _LAYERS = map(int, ROWS)


class Segment(NamedTuple):
    """A closed file.

    Attributes:
        number: Its number.
        through: The last segment it stands for.
        path: Where it is.
        size: Its length in bytes.
        modulus: Of its steps, the multiples of this remain, per kind of row; 1 if all.
        generation: How often it was rewritten.
    """

    number: int
    through: int
    path: Path
    size: int
    modulus: dict[str, int]
    generation: int

    @property
    def coarseness(self) -> int:
        """Modulus of its steps."""
        return self.modulus.get("STEP", 1)


class Thinning:
    """One rewrite of one file, or of two neighbours as one.

    Args:
        sources: The files.
        dense: Steps that are kept: sorted, separate intervals [n, 2], both ends included.
        first_step: First step of the run; multiples are counted from it.
        head: The header to write if the first source's is damaged.

    Attributes:
        result: The new file, once it is done.
    """

    def __init__(
        self,
        sources: tuple[Segment, ...],
        dense: NDArray[np.int64],
        first_step: int,
        head: dict[str, Any],
    ) -> None:
        self.sources = sources
        self.result: Segment | None = None
        self._dense = dense
        self._first_step = first_step
        self._fallback = head
        self._path = sources[0].path.with_name(sources[0].path.name + UNFINISHED)
        self._fds: list[int] = []
        self._work = self._steps()

    def advance(self, effort: int) -> bool:
        """Do a portion of the work.

        Args:
            effort: About how many bytes to copy.

        Returns:
            True once it is done.

        Raises:
            OSError: If a file cannot be read or written; call `abandon` then.
        """
        while effort > 0:
            cost = next(self._work, None)
            if cost is None:
                return True
            if cost == 0:  # waits for the disk
                return False
            effort -= cost
        return False

    def finish(self) -> None:
        """Do all the rest now.

        Raises:
            OSError: As `advance`.
        """
        while not self.advance(1 << 30):
            time.sleep(0.001)

    def abandon(self) -> None:
        """Leave the files as they were."""
        self._work.close()
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
        try:
            os.unlink(self._path)
        except OSError:
            pass

    def _steps(self) -> Generator[int, None, None]:
        flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        surveys: list[_Survey] = []
        for source in self.sources:
            self._fds.append(os.open(source.path, flags))
            surveys.append(_Survey(self._fds[-1]))
            yield from surveys[-1].look()
        moduli = {}
        keeps = [np.ones(len(survey.kinds), bool) for survey in surveys]
        for kind in ROWS:
            rows = [np.frombuffer(survey.kinds, np.uint8) == kind for survey in surveys]
            steps = [
                np.frombuffer(survey.steps, np.int64)[own]
                for survey, own in zip(surveys, rows, strict=True)
            ]
            modulus, kept = self._choose(kind, np.concatenate(steps))
            moduli[kind.name] = modulus
            parts = np.split(kept, np.cumsum([len(part) for part in steps])[:-1])
            for keep, own, part in zip(keeps, rows, parts, strict=True):
                keep[own] = part
        yield LOOK
        yield from self._rewrite(surveys, keeps, moduli)

    def _choose(self, kind: Kind, steps: NDArray[np.int64]) -> tuple[int, NDArray[np.bool_]]:
        """Modulus, and which rows remain."""
        moduli = [source.modulus.get(kind.name, 1) for source in self.sources]
        modulus = max(moduli)
        if len(steps) < 2:
            return 2 * modulus, np.ones(len(steps), bool)
        special = inside(steps, self._dense)
        ordinary = (~special).sum()
        if min(moduli) < modulus:  # the finer comes to the level of the coarser
            return modulus, special | ((steps - self._first_step) % modulus == 0)
        while True:
            modulus *= 2
            kept = (steps - self._first_step) % modulus == 0
            if (kept & ~special).sum() <= _LEAVES * ordinary or modulus >= 1 << 62:
                return modulus, kept | special

    def _rewrite(
        self, surveys: list[_Survey], keeps: list[NDArray[np.bool_]], moduli: dict[str, int]
    ) -> Iterator[int]:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        out = os.open(self._path, flags, 0o666)
        self._fds.append(out)
        generation = 1 + max(source.generation for source in self.sources)
        first, last = self.sources[0], self.sources[-1]
        head = {**self._fallback, **(header(first.path) or {})}
        head |= {"segment": first.number, "through": last.through, "modulus": moduli}
        head["generation"] = generation
        seq = surveys[0].first_seq()
        buffer = bytearray(MAGIC)
        buffer += encode_json(Kind.HEADER, head, seq=seq, schema=head["session"])
        size = 0
        seen: dict[int, set[int]] = {Kind.HEADER: {head["session"]}, Kind.LAYOUT: set()}
        summary = Summary()
        for survey, keep in zip(surveys, keeps, strict=True):
            for at in np.flatnonzero(keep).tolist():
                kind, step = survey.kinds[at], survey.steps[at]
                if kind == Kind.INDEX:
                    continue
                length = survey.sizes[at]
                frame = _read_at(survey.fd, length, survey.offsets[at])
                if not _sound(frame, length):
                    continue
                if kind in seen:  # the first header, or the first layout of a number, is enough
                    number = survey.schemas[at]
                    if number in seen[kind]:
                        continue
                    seen[kind].add(number)
                summary.count(kind, step, length)
                buffer += frame
                if len(buffer) >= _BUFFER:
                    size += _put(out, buffer)
                    buffer.clear()
                yield length + LOOK
        seq = max((survey.seq for survey in surveys), default=0)
        buffer += encode_json(Kind.INDEX, summary.to_dict(self._dense), seq=seq)
        size += _put(out, buffer)
        yield from _synced(out)
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
        os.replace(self._path, first.path)
        self.result = Segment(first.number, last.through, first.path, size, moduli, generation)
        for source in self.sources[1:]:
            with contextlib.suppress(OSError):  # readers skip it, and the next writer removes it
                os.unlink(source.path)


class Summary:
    """What the index at the end of a closed file says."""

    def __init__(self) -> None:
        self.rows = 0
        self.first: int | None = None
        self.last: int | None = None
        self.other_bytes = 0

    def count(self, kind: int, step: int, size: int) -> None:
        """Count a record."""
        if kind == _STEP:
            self.rows += 1
            if self.first is None or step < self.first:
                self.first = step
            self.last = step
        elif kind != _LAYERS:
            self.other_bytes += size

    def to_dict(self, dense: NDArray[np.int64]) -> dict[str, Any]:
        """Plain data for JSON.

        Args:
            dense: Intervals of steps that are kept, [n, 2]; those in this file are named.
        """
        if self.first is not None and self.last is not None:
            dense = dense[(dense[:, 1] >= self.first) & (dense[:, 0] <= self.last)]
        return {
            "rows": self.rows,
            "first": self.first,
            "last": self.last,
            "other_bytes": self.other_bytes,
            "dense": dense.tolist() if self.rows else [],
        }


class _Survey:
    """Where the frames of a file are."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.offsets, self.sizes, self.steps = array("q"), array("q"), array("q")
        self.kinds, self.schemas = array("B"), array("H")
        self.seq = 0

    def look(self) -> Iterator[int]:
        at, end = len(MAGIC), os.fstat(self.fd).st_size
        while at + HEAD.size <= end:
            marker, _, length, kind, _, schema, step, seq = HEAD.unpack(
                _read_at(self.fd, HEAD.size, at)
            )
            if marker != MARKER or length > MAX_PAYLOAD or at + HEAD.size + length > end:
                item = next(iter(Scan(_read_at(self.fd, end - at, at), rows=False)), None)
                if not isinstance(item, Gap):
                    return
                at += item.length
                continue
            self.offsets.append(at)
            self.sizes.append(HEAD.size + length)
            self.steps.append(step)
            self.kinds.append(kind)
            self.schemas.append(schema)
            self.seq = max(self.seq, seq)
            at += HEAD.size + length
            yield LOOK

    def first_seq(self) -> int:
        """Number of the first record; a header that is written anew keeps it."""
        if not self.offsets:
            return 0
        return HEAD.unpack(_read_at(self.fd, HEAD.size, self.offsets[0]))[7]


def _sound(frame: bytes, length: int) -> bool:
    checked = memoryview(frame)[CHECKED_FROM:]
    return len(frame) == length and zlib.crc32(checked) == HEAD.unpack_from(frame)[1]


def _read_at(fd: int, length: int, offset: int) -> bytes:
    os.lseek(fd, offset, os.SEEK_SET)
    return os.read(fd, length)


def _put(fd: int, data: bytearray) -> int:
    if os.write(fd, data) < len(data):
        raise OSError("the disk is full")
    return len(data)


def _synced(fd: int) -> Iterator[int]:
    """Wait until a file is on the disk, without holding up the training."""
    failures: list[OSError] = []

    def sync() -> None:
        try:
            os.fsync(fd)
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=sync, name="isograd-fsync", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the interpreter is ending
        sync()
    while thread.is_alive():
        yield 0
    if failures:
        raise failures[0]
