"""What git says of a file, before it is changed."""

from __future__ import annotations

import subprocess
from pathlib import Path

from isograd.errors import IsogradError

_SHOWN = 5


def require_clean(path: Path) -> None:
    """Refuse to change a file that git could not bring back.

    Raises:
        IsogradError: If there is no git, the file is not in it, or the tree has changes.
    """
    path = path.resolve()
    done = _git(path, "status", "--porcelain", "--untracked-files=no")
    if done.returncode:
        raise IsogradError(
            f"will not change `{path}` without --force: it is not in a git repository."
        )
    if done.stdout.strip():
        raise IsogradError(
            "will not change your source without --force: the git tree has changes.",
            facts=tuple(done.stdout.rstrip().splitlines()[:_SHOWN]),
            causes=("commit or stash them, so that `git checkout` can take the fix back.",),
        )
    if _git(path, "ls-files", "--error-unmatch", path.name).returncode:
        raise IsogradError(f"will not change `{path}` without --force: git does not track it.")


def _git(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ("git", *arguments), cwd=path.parent, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise IsogradError("--apply needs git; --force does without.") from error
