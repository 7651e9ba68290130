"""Patches of a target's source: made, verified, applied."""

from __future__ import annotations

import dataclasses
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from isograd.cli import targets
from isograd.errors import IsogradError

if TYPE_CHECKING:
    from isograd.records.fix import Trial

_SECONDS = 60.0


def place(target: str) -> tuple[Path, str] | None:
    """File and function of a target; None for a module that has no file."""
    name, function = targets.split(target)
    path = Path(name).expanduser()
    if path.is_file():
        return path, function
    import importlib.util

    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin), function


def patched(trial: Trial, target: str) -> Trial:
    """A trial with its patch, verified if it is proven; without one if it has none."""
    made = _made(trial, target)
    if made is None:
        return trial
    diff, texts = made
    verified = trial.proven and _verified(texts, target)
    return dataclasses.replace(trial, patch=diff, verified=verified)


def preferred(trials: Sequence[Trial]) -> Trial | None:
    """The first proven fix with a patch that was verified, else the first with a patch."""
    usable = [t for t in trials if t.proven and t.patch]
    return next((t for t in usable if t.verified), usable[0] if usable else None)


def apply(trial: Trial, target: str) -> list[Path]:
    """Write the patched files; the paths that were changed."""
    made = _made(trial, target)
    if made is None:
        return []
    for path, text in made[1].items():
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
    return list(made[1])


def require_clean(target: str, *, force: bool) -> None:
    """Refuse to change files that git could not bring back.

    Raises:
        IsogradError: If the file is not in git, or the tree has changes, and not `force`.
    """
    found = place(target)
    if found is None:
        raise IsogradError(f"--apply: `{target}` has no file that could be changed.")
    if force:
        return
    command = ("git", "status", "--porcelain", "--untracked-files=no")
    try:
        done = subprocess.run(
            command, cwd=found[0].resolve().parent, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise IsogradError("--apply needs git; --force does without.") from error
    if done.returncode:
        raise IsogradError(
            f"will not change `{found[0]}` without --force: it is not in a git repository."
        )
    if done.stdout.strip():
        raise IsogradError(
            "will not change your source without --force: the git tree has changes.",
            facts=tuple(done.stdout.rstrip().splitlines()[:5]),
            causes=("commit or stash them, so that `git checkout` can take the fix back.",),
        )
    tracked = ("git", "ls-files", "--error-unmatch", found[0].name)
    listed = subprocess.run(
        tracked, cwd=found[0].resolve().parent, capture_output=True, check=False
    )
    if listed.returncode:
        raise IsogradError(f"will not change `{found[0]}` without --force: git does not track it.")


def _made(trial: Trial, target: str) -> tuple[str, dict[Path, str]] | None:
    from isograd.fixes.patches.make import patch
    from isograd.fixes.patches.source import NotInSourceError

    found = place(target)
    if found is None:
        return None
    try:
        return patch(trial.fix, trial.finding, *found)
    except NotInSourceError:
        return None


def _verified(texts: dict[Path, str], target: str) -> bool:
    """True if the patched file loads and a check of it raises no alarm."""
    from isograd.fixes.rewind import Rewind
    from isograd.fixes.workers import outcomes

    found = place(target)
    if found is None or set(texts) != {found[0].resolve()}:
        return False  # other files are imported as they are on disk

    def check() -> bool:
        from isograd import api
        from isograd.cli.check import STEPS

        with targets.loaded(target, text=texts[found[0].resolve()]) as made:
            steps = STEPS if made.optimizer is not None else 0
            return api.check(
                made.model, made.step, made.optimizer, steps, train_step=made.train_step
            ).ok

    import sys

    backend = "process" if sys.platform == "linux" else "serial"
    deadline = time.monotonic() + _SECONDS
    for outcome in outcomes(
        [check],
        jobs=1,
        backend=backend,
        limit=_SECONDS,
        deadline=deadline,
        rewind=Rewind(),
    ):
        return outcome.value is True
    return False
