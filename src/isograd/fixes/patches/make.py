"""A fix as a unified diff of the user's source."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

from isograd.fixes.kind import kinds
from isograd.fixes.patches.sites import Sites
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError
from isograd.fixes.patches.text import on_disk
from isograd.records import Finding
from isograd.records.fix import Fix


@dataclass(frozen=True)
class Patch:
    """A change of the user's files.

    Attributes:
        diff: Unified diff.
        texts: The new text of every file that it changes.
        folder: What the paths in the diff are relative to.
    """

    diff: str
    texts: dict[Path, str]
    folder: Path


def patch(
    fix: Fix, finding: Finding, file: Path, function: str, sites: Sites | None = None
) -> Patch:
    """Make the diff.

    Args:
        fix: The change.
        finding: What it cures, for its source line.
        file: Where the target is.
        function: The target.
        sites: Where it builds its parts, if that was recorded.

    Raises:
        NotInSourceError: If the change cannot be mapped to the source.
    """
    parts = fix.parts or (fix,)
    try:
        texts = _edited(parts, finding, file, function, {}, sites)
    except NotInSourceError:
        if len(parts) < 2:
            raise
        # Two parts that touch the same code go one after the other; those that know a line first,
        # as lines move.
        texts = {}
        for part in sorted(parts, key=lambda p: not {"line", "lines"} & set(p.parameters)):
            texts |= _edited((part,), finding, file, function, texts, None if texts else sites)
    folder = _common(texts)
    return Patch(_diff(texts, folder), texts, folder)


def _edited(
    parts: tuple[Fix, ...],
    finding: Finding,
    file: Path,
    function: str,
    texts: dict[Path, str],
    sites: Sites | None,
) -> dict[Path, str]:
    source = Source(file, function, texts, sites)
    for part in parts:
        try:
            kinds()[part.name].edit(source, part, finding)
        except (IndexError, KeyError, AttributeError, TypeError, StopIteration) as error:
            raise NotInSourceError(f"the source has another shape: {error}") from error
    return source.changed()


def _common(texts: dict[Path, str]) -> Path:
    """The working directory, or the root of the repository if a file lies outside of it."""
    here = Path.cwd().resolve()
    if all(path.is_relative_to(here) for path in texts):
        return here
    above = Path(os.path.commonpath([path.parent for path in texts]))
    for folder in (above, *above.parents):
        if (folder / ".git").exists():
            return folder
    return above


def _diff(texts: dict[Path, str], folder: Path) -> str:
    pieces: list[str] = []
    for path, text in texts.items():
        name = path.relative_to(folder).as_posix()
        old = on_disk(path)
        if "\t" in name or " " in name:  # the end of such a name must be marked
            name += "\t"
        for line in difflib.unified_diff(_lines(old), _lines(text), f"a/{name}", f"b/{name}"):
            whole = line.endswith("\n")
            pieces.append(line if whole else line + "\n\\ No newline at end of file\n")
    if not pieces:
        raise NotInSourceError("the change leaves the source as it is")
    return "".join(pieces)


def _lines(text: str) -> list[str]:
    """Lines as git counts them: only a line feed ends one."""
    return [line + "\n" for line in text.split("\n")[:-1]] + [
        line for line in text.split("\n")[-1:] if line
    ]
