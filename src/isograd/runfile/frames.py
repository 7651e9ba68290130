"""The frame: the one unit that a run file is made of.

A file is `MAGIC` and then frames. All numbers are little-endian.

    offset  type    field
    0       4 B     marker, always `ISOF`
    4       u32     CRC-32 of everything after it, to the end of the payload
    8       u32     length of the payload in bytes
    12      u8      kind
    13      u8      flags
    14      u16     schema: number of the layout of a row or a layout; of a header, the session
    16      i64     training step, or -1
    24      u64     number of the record, counted up over the whole run
    32              payload
"""

from __future__ import annotations

import json
import struct
import zlib
from enum import IntEnum, IntFlag
from typing import Any, NamedTuple

import numpy as np

from isograd.records import codec

# The line ends show at once if a transfer "translated" the file, as PNG's do.
MAGIC = b"\x89ISOG\r\n\n"
VERSION = 1
MARKER = b"ISOF"
HEAD = struct.Struct("<4sIIBBHqQ")
BODY = struct.Struct("<IBBHqQ")
CRC = struct.Struct("<I")
CHECKED_FROM = 8
HEAD_TYPE = np.dtype(
    [
        ("marker", "<u4"),
        ("crc", "<u4"),
        ("length", "<u4"),
        ("kind", "u1"),
        ("flags", "u1"),
        ("schema", "<u2"),
        ("step", "<i8"),
        ("seq", "<u8"),
    ]
)
MARKER_NUMBER = int.from_bytes(MARKER, "little")
MAX_PAYLOAD = 1 << 28
# What compressed text may grow to: no file may make its reader take more memory than this.
MAX_TEXT = 1 << 26
NO_STEP = -1
_COMPRESS_ABOVE = 1024


class Kind(IntEnum):
    """What a frame holds. A reader skips kinds it does not know."""

    HEADER = 1
    LAYOUT = 2
    STEP = 3
    LAYERS = 4
    SNAPSHOT = 5
    FINDING = 6
    EVENT = 7
    TEXT = 8
    VERDICT = 9
    INDEX = 10


class Flag(IntFlag):
    """Bits of a frame."""

    ANOMALOUS = 1
    DEFLATED = 2


ROWS = (Kind.STEP, Kind.LAYERS)


class Frame(NamedTuple):
    """One frame that was read and whose checksum is right.

    Attributes:
        kind: A `Kind`, or the number of one that this version does not know.
        flags: Bits of `Flag`.
        schema: Number of a layout; of a header, the session.
        step: Training step, or -1.
        seq: Number of the record.
        payload: Its bytes, as in the file.
    """

    kind: int
    flags: int
    schema: int
    step: int
    seq: int
    payload: bytes


def encode(
    kind: int, payload: bytes, *, step: int = NO_STEP, seq: int = 0, schema: int = 0, flags: int = 0
) -> bytes:
    """Bytes of one frame.

    >>> frame = encode(Kind.TEXT, b"hello", step=3)
    >>> frame[:4], len(frame)
    (b'ISOF', 37)
    """
    body = BODY.pack(len(payload), kind, flags, schema, step, seq) + payload
    return MARKER + CRC.pack(zlib.crc32(body)) + body


def encode_json(
    kind: int, data: Any, *, step: int = NO_STEP, seq: int = 0, schema: int = 0, flags: int = 0
) -> bytes:
    """Bytes of a frame with JSON; long text is compressed."""
    text = json.dumps(codec._plain(data), default=_plainer, separators=(",", ":")).encode()
    if len(text) > _COMPRESS_ABOVE:
        text = zlib.compress(text, 1)
        flags |= Flag.DEFLATED
    return encode(kind, text, step=step, seq=seq, schema=schema, flags=flags)


def decode_json(frame: Frame) -> dict[str, Any]:
    """The JSON object of a frame.

    Raises:
        ValueError: If it is none, or too large.
    """
    text = frame.payload
    if frame.flags & Flag.DEFLATED:
        inflater = zlib.decompressobj()
        try:
            text = inflater.decompress(text, MAX_TEXT)
        except zlib.error as error:
            raise ValueError(f"cannot be decompressed: {error}") from None
        if inflater.unconsumed_tail:
            raise ValueError(f"text is longer than {MAX_TEXT} bytes")
    try:
        data = json.loads(text)
    except RecursionError:
        raise ValueError("text is nested too deeply") from None
    if not isinstance(data, dict):
        raise ValueError(f"expected an object, got {type(data).__name__}")
    return data


def _plainer(value: Any) -> Any:
    try:
        return codec._plain(float(value))
    except (TypeError, ValueError):
        return str(value)
