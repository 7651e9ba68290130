"""Lists runs without reading them whole, and deletes them."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isograd.runfile import bad_steps, segments
from isograd.runfile.frames import MAGIC, Frame, Kind, decode_json
from isograd.runfile.layout import Layout
from isograd.runfile.log import alive
from isograd.runfile.scan import RowBlock, Scan

_DEPTH = 4
# The end of a file is read in ever larger parts until a step is in it.
_FIRST_LOOK = 1 << 16
# A run on another machine is taken to be alive if it was written so lately.
_LIVELY_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Summary:
    """A run at a glance.

    Attributes:
        path: Its directory.
        started: Unix time in seconds, or None.
        modified: Unix time of the last write, in seconds.
        last_step: The last training step of the first rank; None before the first.
        loss: Loss at that step; None if it was not recorded.
        verdict: What was concluded; None if it is running or was interrupted.
        ok: True if it ended without an alarm; None if that is not known.
        ending: How the program ended, if it did not end well by itself.
        running: True if its process lives, as far as can be seen.
        size: Bytes of all its files.
        ranks: Ranks that left a file.
    """

    path: Path
    started: float | None
    modified: float
    last_step: int | None
    loss: float | None
    verdict: str | None
    ok: bool | None
    ending: str
    running: bool
    size: int
    ranks: tuple[int, ...]


def find_runs(root: str | os.PathLike[str]) -> list[Summary]:
    """Runs in a directory and below it, the latest first.

    Args:
        root: Where to look; links to directories are not followed.

    Returns:
        One summary for each; none if there is no such directory.
    """
    root = Path(root)
    found: list[Summary] = []
    for where, directories, _ in os.walk(root):
        if len(Path(where).relative_to(root).parts) >= _DEPTH:
            directories.clear()
        if is_run(Path(where)):
            try:
                found.append(summarize(Path(where)))
            except OSError:
                continue  # deleted in the meantime
    return sorted(found, key=lambda run: run.modified, reverse=True)


def is_run(directory: Path) -> bool:
    """True if it is a directory, no link, with a file that begins like a run file."""
    if directory.is_symlink() or not directory.is_dir():
        return False
    for name in segments.ranks(directory)[:1]:
        for _, path in segments.segments(directory, name)[:1]:
            try:
                with path.open("rb") as file:
                    return file.read(len(MAGIC)) == MAGIC
            except OSError:
                return False
    return False


def summarize(directory: Path) -> Summary:
    """Look at the ends of a run's files.

    Raises:
        OSError: If it was deleted in the meantime.
    """
    ranks = segments.ranks(directory)
    files = own_files(directory)
    states = [path.stat() for path in files]
    step, loss, verdict, ok, how, meta = None, None, None, None, "", {}
    for number, path in reversed(segments.segments(directory, ranks[0])):
        end = _end(path)
        meta = meta or end.meta
        if verdict is None and step is None:
            verdict, ok, how = end.verdict, end.ok, end.ending
        step, loss = end.step, end.loss
        if step is not None or number == 0:
            break
    started = meta.get("started")
    modified = max((state.st_mtime for state in states), default=0.0)
    return Summary(
        path=directory,
        started=started if isinstance(started, int | float) else None,
        modified=modified,
        last_step=step,
        loss=loss,
        verdict=verdict,
        ok=ok,
        ending=how,
        running=verdict is None and _lives(meta, modified),
        size=sum(state.st_size for state in states),
        ranks=ranks,
    )


def own_files(directory: Path) -> list[Path]:
    """The files in a run directory that isograd wrote."""
    names = sorted(os.listdir(directory))
    return [
        directory / name
        for name in names
        if (
            segments.parse_name(name.removesuffix(segments.UNFINISHED)) is not None
            or bad_steps.is_own(name)
        )
        and not (directory / name).is_symlink()
    ]


def delete(directory: Path) -> bool:
    """Delete a run's files, and its directory if nothing else is in it.

    Returns:
        True if the directory is gone; False if it holds files of someone else.

    Raises:
        ValueError: If it is no run directory.
        OSError: If a file cannot be deleted.
    """
    if not is_run(directory):
        raise ValueError(f"`{directory}` is no run directory")
    for path in own_files(directory):
        path.unlink()
    if os.listdir(directory):
        return False
    directory.rmdir()
    return True


@dataclass(frozen=True, slots=True)
class _End:
    """What the end of one file tells."""

    meta: dict[str, Any]
    step: int | None
    loss: float | None
    verdict: str | None
    ok: bool | None
    ending: str


def _end(path: Path) -> _End:
    meta = (segments.header(path) or {}).get("meta")
    meta = meta if isinstance(meta, dict) else {}
    size, whole = _FIRST_LOOK, path.stat().st_size
    while True:
        frames = [f for f in segments.tail(path, size) if isinstance(f, Frame)]
        rows = [frame for frame in frames if frame.kind == Kind.STEP]
        if rows or size >= whole:
            break
        size *= 8
    verdict: str | None = None
    ok: bool | None = None
    how = ""
    for frame in frames:
        data = _json(frame) if frame.kind in (Kind.VERDICT, Kind.HEADER) else {}
        if frame.kind == Kind.VERDICT:
            verdict, how = str(data.get("verdict", "")), str(data.get("ending") or "")
            ok = data.get("ok") if isinstance(data.get("ok"), bool) else None
        elif frame.kind == Kind.HEADER and isinstance(data.get("meta"), dict):
            meta, verdict, ok, how = data["meta"], None, None, ""
    step = rows[-1].step if rows else None
    return _End(meta, step, _loss(path, rows[-1]) if rows else None, verdict, ok, how)


def _loss(path: Path, row: Frame) -> float | None:
    """The loss in a row, if its layout names one."""
    size, whole = _FIRST_LOOK, path.stat().st_size
    while True:
        with path.open("rb") as file:
            data = file.read(size)
        layout = _layouts(data).get(row.schema)
        if layout is not None:
            if "loss" not in layout.scalars or len(row.payload) != layout.row_bytes:
                return None
            numbers, _ = layout.unpack(np.frombuffer(row.payload, np.uint8).reshape(1, -1))
            return float(numbers[0, layout.scalars.index("loss")])
        if size >= whole:
            return None
        size *= 8


def _layouts(data: bytes) -> dict[int, Layout]:
    found: dict[int, Layout] = {}
    for item in Scan(data, len(MAGIC)):
        if isinstance(item, RowBlock) or not isinstance(item, Frame) or item.kind != Kind.LAYOUT:
            continue
        try:
            layout = Layout.from_dict(decode_json(item))
        except ValueError:
            continue
        found[layout.schema] = layout
    return found


def _json(frame: Frame) -> dict[str, Any]:
    try:
        return decode_json(frame)
    except ValueError:
        return {}


def _lives(meta: dict[str, Any], modified: float) -> bool:
    if meta.get("host") == socket.gethostname() and isinstance(meta.get("pid"), int):
        return alive(meta["pid"])
    return time.time() - modified < _LIVELY_SECONDS
