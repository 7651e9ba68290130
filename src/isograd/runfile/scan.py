"""Bytes to frames: fast over long runs of equal rows, and undeterred by damage."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from isograd.runfile.frames import (
    CHECKED_FROM,
    HEAD,
    HEAD_TYPE,
    MARKER,
    MARKER_NUMBER,
    MAX_PAYLOAD,
    ROWS,
    Frame,
)

# Looking for the next whole frame may checksum this many times the data's length, no more: data
# full of markers would otherwise take quadratic time.
_SEARCH_EFFORT = 8
_FIRST_LOOK = 64


class RowBlock(NamedTuple):
    """Neighbouring rows of one schema.

    Attributes:
        kind: Kind of the rows.
        schema: Their layout.
        steps: [rows], int64.
        flags: [rows], uint8.
        payload: [rows, bytes], a view into the data that was scanned.
        first_seq: Number of the first record.
        last_seq: Number of the last record.
    """

    kind: int
    schema: int
    steps: NDArray[np.int64]
    flags: NDArray[np.uint8]
    payload: NDArray[np.uint8]
    first_seq: int
    last_seq: int


class Gap(NamedTuple):
    """Bytes that hold no whole frame, with whole frames after them."""

    offset: int
    length: int


class Scan:
    """Iterates over the frames in some bytes.

    After the iteration `end` is where the last whole frame ends; what follows is a torn tail.

    Args:
        data: Bytes of a file, or of a part of one.
        start: Where the first frame begins.
        rows: Yield rows as `RowBlock`; otherwise each row is a `Frame`.
    """

    def __init__(self, data: bytes, start: int = 0, *, rows: bool = True) -> None:
        self.end = start
        self._data = data
        self._view = memoryview(data)
        self._rows = rows
        self._effort = _SEARCH_EFFORT * len(data)

    def __iter__(self) -> Iterator[Frame | RowBlock | Gap]:
        while self.end < len(self._data):
            at = self.end
            head = self._head(at)
            if head is None or not self._right(at, head[2], head[1]):
                found = self._search(at + 1)
                if found is None:
                    return
                self.end = found
                yield Gap(at, found - at)
                continue
            if self._rows and head[3] in ROWS:
                yield self._block(at, HEAD.size + head[2])
            else:
                self.end = at + HEAD.size + head[2]
                payload = self._data[at + HEAD.size : self.end]
                yield Frame(head[3], head[4], head[5], head[6], head[7], payload)

    def _head(self, at: int) -> tuple[bytes, int, int, int, int, int, int, int] | None:
        """Fields of the frame at `at`, or None if there can be none of that length."""
        if at + HEAD.size > len(self._data):
            return None
        head = HEAD.unpack_from(self._data, at)
        if head[0] != MARKER or head[2] > MAX_PAYLOAD:
            return None
        return head if at + HEAD.size + head[2] <= len(self._data) else None

    def _right(self, at: int, length: int, crc: int) -> bool:
        return zlib.crc32(self._view[at + CHECKED_FROM : at + HEAD.size + length]) == crc

    def _search(self, start: int) -> int | None:
        """Offset of the next whole frame."""
        at = self._data.find(MARKER, start)
        while at >= 0 and self._effort > 0:
            head = self._head(at)
            if head is not None:
                self._effort -= HEAD.size + head[2]
                if self._right(at, head[2], head[1]):
                    return at
            at = self._data.find(MARKER, at + 1)
        return None

    def _block(self, at: int, size: int) -> RowBlock:
        """All rows from here on that are like the one at `at`, whose checksum is right."""
        heads = np.ndarray(
            ((len(self._data) - at) // size,), HEAD_TYPE, self._data, at, strides=(size,)
        )
        count = self._alike(heads)
        crcs = heads["crc"][:count].tolist()
        for index in range(1, count):
            begin = at + index * size
            if zlib.crc32(self._view[begin + CHECKED_FROM : begin + size]) != crcs[index]:
                count = index
                break
        self.end = at + count * size
        first = heads[:count]
        payload = np.ndarray(
            (count, size - HEAD.size), np.uint8, self._data, at + HEAD.size, strides=(size, 1)
        )
        return RowBlock(
            int(first["kind"][0]),
            int(first["schema"][0]),
            first["step"].astype(np.int64),
            first["flags"].copy(),
            payload,
            int(first["seq"][0]),
            int(first["seq"][-1]),
        )

    @staticmethod
    def _alike(heads: NDArray[np.void]) -> int:
        """Number of leading heads with the marker, length, kind and schema of the first."""
        seen, look = 1, _FIRST_LOOK
        while seen < len(heads):  # ever longer looks: short runs must not cost the whole file
            part = heads[seen : seen + look]
            same = part["marker"] == MARKER_NUMBER
            for name in ("length", "kind", "schema"):
                same &= part[name] == heads[name][0]
            if not same.all():
                return seen + int(np.argmin(same))
            seen += len(part)
            look *= 2
        return seen
