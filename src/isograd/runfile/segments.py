"""Which files belong to a run.

A rank writes `rank-0.isog`, then `rank-0.1.isog`, `rank-0.2.isog`, ...; only the last one grows.
Two neighbours may be rewritten as one file under the first's name, whose header then says
`through`; until the second is removed, a reader skips it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from isograd.runfile.frames import HEAD, MAGIC, MAX_TEXT, Frame, Kind, decode_json
from isograd.runfile.scan import Gap, RowBlock, Scan

SUFFIX = ".isog"
UNFINISHED = ".tmp"
_NAME = re.compile(r"rank-(\d{1,9})(?:\.(\d{1,9}))?\.isog")
# Far more than an index takes.
_TAIL_BYTES = 1 << 18


def file_name(rank: int, segment: int) -> str:
    """Name of a file.

    >>> file_name(0, 0), file_name(3, 2)
    ('rank-0.isog', 'rank-3.2.isog')
    """
    return f"rank-{rank}{f'.{segment}' if segment else ''}{SUFFIX}"


def parse_name(name: str) -> tuple[int, int] | None:
    """Rank and segment of a file name; None if it is no run file's.

    >>> parse_name("rank-3.2.isog"), parse_name("notes.txt")
    ((3, 2), None)
    """
    match = _NAME.fullmatch(name)
    return (int(match[1]), int(match[2] or 0)) if match else None


def segments(directory: Path, rank: int) -> list[tuple[int, Path]]:
    """Number and path of each file of a rank, in order.

    Raises:
        OSError: If the directory cannot be listed.
    """
    found = ((parse_name(name), name) for name in os.listdir(directory))
    return sorted((p[1], directory / name) for p, name in found if p is not None and p[0] == rank)


def ranks(directory: Path) -> tuple[int, ...]:
    """Ranks that left a file; empty if there are none, or no such directory."""
    try:
        found = {parse_name(name) for name in os.listdir(directory)}
    except OSError:
        return ()
    return tuple(sorted({p[0] for p in found if p is not None}))


def header(path: Path) -> dict[str, Any] | None:
    """The header at the start of a file; None if there is none yet, or it is damaged.

    Raises:
        OSError: If the file cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(len(MAGIC) + HEAD.size)
        if not start.startswith(MAGIC) or len(start) < len(MAGIC) + HEAD.size:
            return None
        length = HEAD.unpack_from(start, len(MAGIC))[2]
        if length > MAX_TEXT:
            return None
        data = start + file.read(length)
    for frame in Scan(data, len(MAGIC), rows=False):
        if isinstance(frame, Frame) and frame.kind == Kind.HEADER:
            try:
                return decode_json(frame)
            except ValueError:
                return None
        break
    return None


def index(path: Path) -> dict[str, Any] | None:
    """The index at the end of a closed file; None if it has none.

    Raises:
        OSError: If the file cannot be read.
    """
    frames = [f for f in tail(path, _TAIL_BYTES) if isinstance(f, Frame)]
    if not frames or frames[-1].kind != Kind.INDEX:
        return None
    try:
        return decode_json(frames[-1])
    except ValueError:
        return None


def tail(path: Path, size: int) -> list[Frame | Gap | RowBlock]:
    """Frames in the last bytes of a file; a frame cut by their start is left out.

    Raises:
        OSError: If the file cannot be read.
    """
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        begin = max(len(MAGIC), end - size)
        file.seek(begin)
        return list(Scan(file.read(), rows=False))


def through(number: int, head: dict[str, Any] | None) -> int:
    """The last segment that a file stands for, by its header."""
    last = (head or {}).get("through")
    return last if isinstance(last, int) and last > number else number
