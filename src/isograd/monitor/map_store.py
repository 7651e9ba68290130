"""Cells on disk, one line of JSON each, so that a map goes on where it stopped.

The file's name is a digest of all settings but the axes: a finer grid with the same settings takes
over the cells that it shares. Lines are only ever added; one cut off by a crash is skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from isograd.monitor.map_cell import Cell
from isograd.records import codec

Key = tuple[int, float, int]


class Store:
    """Cells measured with the same settings.

    Args:
        folder: Directory; made if missing.
        settings: Plain data; all that a cell's numbers depend on, but its depth, scale and seed.

    Raises:
        OSError: If the directory cannot be made.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        text = json.dumps(settings, sort_keys=True)
        folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.file = folder / f"map-{digest}.jsonl"
        self._head = {"settings": settings}

    def read(self) -> dict[Key, Cell]:
        """All whole cells of the file."""
        found: dict[Key, Cell] = {}
        if not self.file.exists():
            return found
        for line in self.file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                cell = codec.decode(Cell, json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # the settings, or a torn line
            found[cell.depth, cell.scale, cell.seed] = cell
        return found

    def add(self, cell: Cell) -> None:
        """Append a cell; one write, so that another process's lines are not cut.

        Raises:
            OSError: If the file cannot be written.
        """
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        handle = os.open(self.file, flags, 0o666)
        try:
            size = os.fstat(handle).st_size
            text = _line(codec.encode(cell))
            if size == 0:
                text = _line(self._head) + text
            else:
                os.lseek(handle, -1, os.SEEK_END)
                if os.read(handle, 1) != b"\n":  # torn by a crash
                    text = b"\n" + text
            os.write(handle, text)
        finally:
            os.close(handle)


def _line(data: dict[str, Any]) -> bytes:
    return (json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n").encode()
