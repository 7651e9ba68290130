"""Patches of a target's source: made, verified, applied."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from isograd.cli import git, served, targets
from isograd.errors import IsogradError

if TYPE_CHECKING:
    from isograd.fixes.patches.make import Patch
    from isograd.fixes.patches.sites import Sites
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


def all_patched(trials: Sequence[Trial], target: str, sites: Sites | None = None) -> list[Trial]:
    """Trials with their patches, in their order, verified up to the first that is good."""
    found: list[Trial] = []
    for trial in trials:
        found.append(patched(trial, target, sites, verify=not any(t.verified for t in found)))
    return found


def patched(trial: Trial, target: str, sites: Sites | None = None, *, verify: bool = True) -> Trial:
    """A trial with its patch, verified if it is proven; without one if it has none."""
    made = _made(trial, target, sites)
    if made is None:
        return trial
    verified = verify and trial.proven and _verified(made.texts, target)
    return dataclasses.replace(trial, patch=made.diff, verified=verified)


def preferred(trials: Sequence[Trial]) -> Trial | None:
    """The first proven fix with a patch that was verified, else the first with a patch."""
    usable = [t for t in trials if t.proven and t.patch]
    return next((t for t in usable if t.verified), usable[0] if usable else None)


def folder(trial: Trial, target: str, sites: Sites | None = None) -> Path | None:
    """What the paths of a patch are relative to, if that is not the working directory."""
    made = _made(trial, target, sites)
    outside = made is not None and made.folder != Path.cwd().resolve()
    return made.folder if made is not None and outside else None


def apply(
    trial: Trial, target: str, sites: Sites | None = None, *, force: bool = False
) -> list[Path]:
    """Write the patched files; the paths that were changed.

    Raises:
        IsogradError: If git could not bring one of the files back, and not `force`; or if one
            cannot be written: then those before it are as they were.
    """
    made = _made(trial, target, sites)
    if made is None:
        return []
    for path in () if force else made.texts:
        git.require_clean(path)
    before = {path: path.read_bytes() for path in made.texts}
    for path, text in made.texts.items():
        try:
            path.write_bytes(text.encode())
        except OSError as error:
            for changed, data in before.items():
                if changed.read_bytes() != data:
                    changed.write_bytes(data)
            raise IsogradError(f"cannot write `{path}`: {error.strerror}.") from error
    return list(made.texts)


def require_clean(target: str, *, force: bool) -> None:
    """Refuse to change files that git could not bring back.

    Raises:
        IsogradError: If the file is not in git, or the tree has changes, and not `force`.
    """
    found = place(target)
    if found is None:
        raise IsogradError(f"--apply: `{target}` has no file that could be changed.")
    if not force:
        git.require_clean(found[0])


def _made(trial: Trial, target: str, sites: Sites | None) -> Patch | None:
    from isograd.fixes.patches.make import patch
    from isograd.fixes.patches.syntax import NotInSourceError

    found = place(target)
    if found is None:
        return None
    try:
        return patch(trial.fix, trial.finding, *found, sites)
    except NotInSourceError:
        return None


def _verified(texts: dict[Path, str], target: str) -> bool:
    """True if the patched source loads and a check of it raises no alarm."""
    from isograd.fixes.rewind import Rewind
    from isograd.fixes.workers import outcomes

    def check() -> bool:
        from isograd import api
        from isograd.cli.check import STEPS

        with served.files(texts, target) as text, targets.loaded(target, text=text) as made:
            steps = STEPS if made.optimizer is not None else 0
            return api.check(
                made.model, made.step, made.optimizer, steps, train_step=made.train_step
            ).ok

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
