"""One directory for all ranks of a training, without a word between them.

Processes that a launcher started together have a mark in common. The first rank takes a directory
that holds no run and writes the mark into its file; the others look for it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from isograd.runfile import segments

# Seconds that a rank waits for the first one to begin.
PATIENCE = 5.0
_LOOK = 0.02
_SAME = ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_ADDR", "MASTER_PORT")


def mark() -> dict[str, Any]:
    """What the processes of one launch have in common, to be stored as `launch` in the facts."""
    same = {name.lower(): os.environ.get(name, "") for name in _SAME}
    return {**same, "host": socket.gethostname(), "launcher": os.getppid()}


def shared_directory(wanted: str | os.PathLike[str], rank: int) -> Path:
    """The directory of this launch: the one asked for, or `NAME-2`, `NAME-3`, ...

    Args:
        wanted: The directory asked for.
        rank: Which process this is.

    Returns:
        One where this rank has no file yet. If the first rank does not begin in time, or not on
        this disk, the first that is free for this rank.
    """
    if rank == 0:
        return _free(Path(wanted), 0)
    own, end = mark(), time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for directory in _numbered(Path(wanted)):
            there = segments.ranks(directory)
            if not there:
                break
            if 0 in there and rank not in there and _together(directory, own):
                return directory
        time.sleep(_LOOK)
    return _free(Path(wanted), rank)


def _free(wanted: Path, rank: int) -> Path:
    """The first directory without a file of this rank."""
    return next(path for path in _numbered(wanted) if rank not in segments.ranks(path))


def _numbered(wanted: Path) -> Iterator[Path]:
    yield wanted
    number = 2
    while True:
        yield wanted.with_name(f"{wanted.name}-{number}")
        number += 1


def _together(directory: Path, own: dict[str, Any]) -> bool:
    """True if the first rank's file there was begun by the same launch."""
    try:
        head = segments.header(segments.segments(directory, 0)[0][1]) or {}
    except (OSError, IndexError):
        return False
    launch = (head.get("meta") or {}).get("launch")
    if not isinstance(launch, dict):
        return False
    # On another machine the launcher is another process.
    alike = launch.get("host") == own["host"]
    keys = [key for key in own if alike or key not in ("host", "launcher")]
    return all(launch.get(key) == own[key] for key in keys)
