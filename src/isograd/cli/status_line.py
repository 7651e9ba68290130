"""One line at the bottom of a terminal, beside whatever a program prints."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

_SECONDS = 0.25
_CLEAR = "\r\x1b[K"


class StatusLine:
    """Shows a text on standard error while it is a terminal; else nothing at all.

    What the program writes to its standard streams goes above the line: it is cleared before.
    """

    def __init__(self) -> None:
        self._out = sys.stderr
        self._on = bool(getattr(self._out, "isatty", lambda: False)())
        self._shown = False
        self._last = 0.0
        self._streams: list[tuple[str, Any]] = []

    @property
    def stream(self) -> Any:
        """Where the line is shown."""
        return self._out

    def open(self) -> None:
        """Stand between the program and its streams."""
        if not self._on:
            return
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            self._streams.append((name, stream))
            setattr(sys, name, _Above(stream, self.clear))

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
        if not self._on:
            return
        self._last = time.monotonic()
        width = _width(self._out)
        self._write(_CLEAR + text[: width - 1] + "\r")
        self._shown = True

    def clear(self) -> None:
        """Remove the line."""
        if self._shown:
            self._shown = False
            self._write(_CLEAR)

    def _write(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except (OSError, ValueError):  # the terminal is gone; the training is not
            self._on = False


class _Above:
    """A stream that clears the status line before it writes."""

    def __init__(self, stream: Any, clear: Any) -> None:
        self._stream = stream
        self._clear = clear

    def write(self, text: str) -> Any:
        """Write above the line."""
        self._clear()
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Any:
        return iter(self._stream)


def _width(stream: Any) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError, AttributeError):
        return 80
