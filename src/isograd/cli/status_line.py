"""One line at the bottom of a terminal, beside whatever a program prints."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any

_SECONDS = 0.25
_CLEAR = "\r\x1b[K"


class StatusLine:
    """Shows a text on standard error while it is a terminal; else nothing at all.

    What the program writes to its standard streams goes above the line, which is cleared before.
    While the program has begun a line of its own and not ended it, such as a progress bar, there
    is no line of ours.
    """

    def __init__(self) -> None:
        self._out = sys.stderr
        self._on = bool(getattr(self._out, "isatty", lambda: False)())
        self._shown = False
        self._begun = False
        self._last = 0.0
        self._streams: list[tuple[str, Any]] = []
        self._lock = threading.RLock()

    def open(self) -> None:
        """Stand between the program and its streams."""
        if not self._on:
            return
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            self._streams.append((name, stream))
            setattr(sys, name, _Above(stream, self))
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._leave)

    def close(self) -> None:
        """Clear the line and give the streams back, unless the program replaced them."""
        self.clear()
        for name, stream in self._streams:
            if isinstance(getattr(sys, name), _Above):
                setattr(sys, name, stream)
        self._streams.clear()

    def due(self) -> bool:
        """True if the line is old enough to be drawn again."""
        return self._on and time.monotonic() - self._last >= _SECONDS

    def show(self, text: str) -> None:
        """Draw a text, cut to the terminal's width."""
        from isograd.reporters import layout

        with self._lock:
            if not self._on or self._begun:
                return
            self._last = time.monotonic()
            text = layout.shorten(layout.clean(text), _width(self._out) - 1, "start")
            self._write(f"{_CLEAR}{text}\r")
            self._shown = True

    def clear(self) -> None:
        """Remove the line."""
        with self._lock:
            if self._shown:
                self._shown = False
                self._write(_CLEAR)

    def tell(self, text: str) -> None:
        """Print a sentence of our own, also where there is no terminal."""
        with self._lock:
            self.clear()
            self._write(f"{chr(10) if self._begun else ''}{text}\n")
            self._begun = False

    def pass_on(self, stream: Any, text: str) -> Any:
        """Write what the program writes, above the line."""
        with self._lock:
            self.clear()
            if text:
                self._begun = not text.endswith(("\n", "\r"))
            return stream.write(text)

    def _leave(self) -> None:
        """In a forked child, where no thread draws: its lock may be held by one that is not."""
        self._on = self._shown = False
        self._lock = threading.RLock()

    def _write(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except (OSError, ValueError):  # the terminal is gone; the training is not
            self._on = False


class _Above:
    """A stream that writes above the status line."""

    def __init__(self, stream: Any, line: StatusLine) -> None:
        self._stream = stream
        self._line = line

    def write(self, text: str) -> Any:
        """Write above the line."""
        return self._line.pass_on(self._stream, text)

    def writelines(self, lines: Any) -> None:
        """Write several texts above the line."""
        for text in lines:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Any:
        return iter(self._stream)


def _width(stream: Any) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80  # 0: it does not know
    except (OSError, ValueError, AttributeError):
        return 80
