"""Facts about the process that trains, for the header of a run file."""

from __future__ import annotations

import os
import platform
import re
import socket
import sys
import time
from pathlib import Path
from typing import Any

_SECRET = re.compile(r"(token|secret|passw|api[-_]?key|credential|auth)", re.IGNORECASE)
_HIDDEN = "***"


def facts() -> dict[str, Any]:
    """What a reader may want to know later; imports nothing that is not imported already."""
    known = {name: sys.modules.get(name) for name in ("torch", "numpy")}
    return {
        "started": time.time(),
        "command": command(sys.argv),
        "directory": _or_none(os.getcwd),
        "host": _or_none(socket.gethostname),
        "pid": os.getpid(),
        "git_commit": git_commit(Path.cwd()) if _or_none(os.getcwd) else None,
        # Not from installed metadata: a clone on the path has none.
        "isograd": getattr(sys.modules.get("isograd"), "__version__", None),
        "python": platform.python_version(),
        **{name: getattr(module, "__version__", None) for name, module in known.items()},
    }


def command(argv: list[str]) -> list[str]:
    """A command line without what looks like a secret.

    >>> command(["train.py", "--lr", "0.1", "--api-key", "x", "--hf_token=y"])
    ['train.py', '--lr', '0.1', '--api-key', '***', '--hf_token=***']
    """
    out: list[str] = []
    hide = False
    for word in argv:
        name, equals, _ = word.partition("=")
        secret = bool(_SECRET.search(name)) and (name.startswith("-") or bool(equals))
        if hide and not word.startswith("-"):
            out.append(_HIDDEN)
        else:
            out.append(f"{name}={_HIDDEN}" if secret and equals else word)
        hide = secret and not equals
    return out


def git_commit(directory: Path) -> str | None:
    """Commit that is checked out around a directory, read from git's own files."""
    for parent in (directory, *directory.parents):
        git = parent / ".git"
        try:
            if git.is_file():  # a worktree
                git = (parent / git.read_text().removeprefix("gitdir:").strip()).resolve()
            if not git.is_dir():
                continue
            head = (git / "HEAD").read_text().strip()
            if not head.startswith("ref:"):
                return head
            return _reference(git, head.removeprefix("ref:").strip())
        except (OSError, ValueError):
            return None
    return None


def _reference(git: Path, name: str) -> str | None:
    shared = git / "commondir"
    homes = [git, (git / shared.read_text().strip()).resolve()] if shared.exists() else [git]
    for home in homes:
        if (home / name).exists():
            return (home / name).read_text().strip()
        if (home / "packed-refs").exists():
            for line in (home / "packed-refs").read_text().splitlines():
                if line.endswith(f" {name}"):
                    return line.split()[0]
    return None


def _or_none(ask: Any) -> Any:
    try:
        return ask()
    except OSError:
        return None
