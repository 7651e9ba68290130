"""The secret in a live page's address: nobody guesses it, and it stays the same for a run.

If it changed at each start, a page that is open could not go on after the server was restarted.
"""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

_BYTES = 32
_LENGTH = 32  # of the token, in hexadecimal digits: 128 bits


def of(run: Path) -> str:
    """The token of a run, from a key that only this user can read.

    Args:
        run: The run's path.

    Returns:
        32 hexadecimal digits; random ones if the key can neither be read nor be written.
    """
    key = _key()
    if key is None:
        return secrets.token_hex(_LENGTH // 2)
    name = str(run.resolve()).encode("utf-8", "surrogateescape")
    return hmac.new(key, name, "sha256").hexdigest()[:_LENGTH]


def key_file() -> Path:
    """Where the key lies."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "isograd" / "live-key"


def _key() -> bytes | None:
    try:
        path = key_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(_BYTES))
        except FileExistsError:
            pass
        if os.name == "posix" and path.stat().st_mode & 0o077:
            return None  # others can read it: no secret
        key = path.read_bytes()
    except (OSError, RuntimeError):
        return None
    return key if len(key) == _BYTES else None
