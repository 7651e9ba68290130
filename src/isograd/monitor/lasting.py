"""Watches that are open in this process.

They end with the program if nobody ended them, and are left alone in a process forked off, such
as a worker of a data loader: its calls are no training of this one's.
"""

from __future__ import annotations

import atexit
import contextlib
import os
from typing import Any, Protocol


class Lasting(Protocol):
    """What is open."""

    ending: str

    def close(self) -> None:
        """End as usual."""
        ...

    def leave(self) -> None:
        """Take everything off, write nothing."""
        ...


_open: dict[int, tuple[Any, Any]] = {}
_prepared: list[bool] = []


def add(watch: Lasting, model: Any) -> None:
    """One more is open."""
    if not _prepared:
        _prepared.append(True)
        atexit.register(_program_ends)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_forked)
    _open[id(watch)] = watch, model


def discard(watch: Lasting) -> None:
    """It is open no more."""
    _open.pop(id(watch), None)


def others(model: Any) -> list[Any]:
    """Open watches of this very model."""
    return [watch for watch, watched in _open.values() if watched is model]


def _program_ends() -> None:
    for watch, _ in tuple(_open.values()):
        with contextlib.suppress(Exception):
            watch.ending = watch.ending or "the program ended"
            watch.close()


def _forked() -> None:
    for watch, _ in tuple(_open.values()):
        with contextlib.suppress(Exception):
            watch.leave()
    _open.clear()
