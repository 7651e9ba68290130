"""A file that only grows, and whose troubles never reach the training."""

from __future__ import annotations

import os
import sys
import time
import warnings
from pathlib import Path

# After a failure, seconds until it is tried again.
RETRY_SECONDS = 30.0
_FLAGS = os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class Appender:
    """Appends records, each with one unbuffered write.

    A full disk, a deleted or read-only file, a descriptor that someone closed: each ends in one
    warning, and later records are dropped until a rare new try succeeds. Nothing here raises, and
    nothing waits for the disk.

    Attributes:
        failed: Why the latest record was not kept, or "".
        lost: Number of records dropped since the last one that was kept.
        size: Length of the file, in bytes.
    """

    def __init__(self) -> None:
        self.failed = ""
        self.lost = 0
        self.size = 0
        self._path: Path | None = None
        self._opening = b""
        self._fd = -1
        self._identity: tuple[int, int] | None = None
        self._retry_at = 0.0
        self._warned = False
        self._stopped = False

    def open(self, path: Path, opening: bytes, *, keep: int | None = None) -> bool:
        """Turn to another file.

        Args:
            path: The file.
            opening: Its first bytes, written if it is empty.
            keep: Length to cut an existing file to; None if it must not exist yet.

        Returns:
            True if it is open and begun; otherwise writing is tried again later.
        """
        self.close()
        self._path, self._opening, self._identity, self.size = path, opening, None, 0
        try:
            exclusive = os.O_EXCL if keep is None else 0
            self._fd = os.open(path, _FLAGS | os.O_CREAT | exclusive, 0o666)
            self._identify()
            if keep is not None and keep < self.size:
                os.ftruncate(self._fd, keep)
                self.size = keep
        except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
            self._fail(error)
            return False
        return bool(self.size) or self.write(b"")

    def write(self, data: bytes | bytearray) -> bool:
        """Append one record; True if it was kept."""
        if self._stopped or (self.failed and time.monotonic() < self._retry_at):
            self.lost += 1
            return False
        try:
            self._check()
            if not self.size:
                data = self._opening + data
            written = os.write(self._fd, data)
            if written < len(data):
                os.ftruncate(self._fd, self.size)
                raise OSError("the disk took a part of a record only")
        except (OSError, ValueError) as error:  # a closed descriptor is an OSError, too
            self.lost += 1
            self._fail(error)
            return False
        self.size += written
        self.failed = ""
        return True

    def stop(self, reason: str) -> None:
        """Keep nothing more."""
        self._stopped = True
        self._fail(OSError(reason))

    def close(self) -> None:
        """Let the file go."""
        fd, self._fd = self._fd, -1
        if fd >= 0 and self._ours(fd):
            try:
                os.close(fd)
            except OSError:
                pass

    def _check(self) -> None:
        """Make sure that the descriptor is still our file: its number may have been reused."""
        if self._fd < 0:
            if self._path is None:
                raise OSError("no file is open")
            # A file that was deleted is not made again: whoever deleted it did not want it.
            made = 0 if self._identity else os.O_CREAT
            fd = os.open(self._path, _FLAGS | made, 0o666)
            self._fd, known = fd, self._identity
            self._identify()
            if known is not None and self._identity != known:
                os.close(fd)
                self._fd, self._identity = -1, known
                raise OSError("another file took its place")
        state = os.fstat(self._fd)
        if (state.st_dev, state.st_ino) != self._identity:
            self._fd = -1  # someone else's now: not ours to close
            raise OSError("its descriptor was closed by someone else")
        if not state.st_nlink:
            raise OSError("it was deleted")
        self.size = state.st_size

    def _identify(self) -> None:
        state = os.fstat(self._fd)
        self._identity, self.size = (state.st_dev, state.st_ino), state.st_size

    def _ours(self, fd: int) -> bool:
        try:
            state = os.fstat(fd)
        except OSError:
            return False
        return (state.st_dev, state.st_ino) == self._identity

    def _fail(self, error: Exception) -> None:
        self.failed = getattr(error, "strerror", None) or str(error)
        self._retry_at = time.monotonic() + RETRY_SECONDS
        self.close()
        if not self._warned:
            self._warned = True
            warn(
                f"isograd cannot write its run file `{self._path}`: {self.failed}. "
                "The training goes on; its numbers are not kept."
            )


def warn(text: str) -> None:
    """One warning that is never an exception, even where warnings are errors."""
    try:
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    except RuntimeWarning:
        try:
            print(f"warning: {text}", file=sys.stderr)
        except (OSError, ValueError, AttributeError):
            pass
