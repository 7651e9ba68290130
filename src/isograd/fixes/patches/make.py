"""A fix as a unified diff of the user's source."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from isograd.fixes.kind import kinds
from isograd.fixes.patches.source import NotInSourceError, Source
from isograd.records import Finding
from isograd.records.fix import Fix


def patch(fix: Fix, finding: Finding, file: Path, function: str) -> tuple[str, dict[Path, str]]:
    """Make the diff.

    Args:
        fix: The change.
        finding: What it cures, for its source line.
        file: Where the target is.
        function: The target.

    Returns:
        The diff, with paths relative to the working directory, and the new text of every file.

    Raises:
        NotInSourceError: If the change cannot be mapped to the source.
    """
    parts = fix.parts or (fix,)
    try:
        texts = _edited(parts, finding, file, function, {})
    except NotInSourceError:
        if len(parts) < 2:
            raise
        # Two parts that touch the same code go one after the other; those that know a line first,
        # as lines move.
        texts = {}
        for part in sorted(parts, key=lambda p: not {"line", "lines"} & set(p.parameters)):
            texts |= _edited((part,), finding, file, function, texts)
    return _diff(texts), texts


def _edited(
    parts: tuple[Fix, ...], finding: Finding, file: Path, function: str, texts: dict[Path, str]
) -> dict[Path, str]:
    source = Source(file, function, texts)
    for part in parts:
        try:
            kinds()[part.name].edit(source, part, finding)
        except (IndexError, KeyError, AttributeError, TypeError) as error:
            raise NotInSourceError(f"the source has another shape: {error}") from error
    return source.changed()


def _diff(texts: dict[Path, str]) -> str:
    lines: list[str] = []
    for path, text in texts.items():
        with path.open(encoding="utf-8", newline="") as stream:
            old = stream.read()
        name = os.path.relpath(path).replace(os.sep, "/")
        for line in difflib.unified_diff(
            old.splitlines(keepends=True),
            text.splitlines(keepends=True),
            f"a/{name}",
            f"b/{name}",
        ):
            whole = line.endswith("\n")
            lines.append(line if whole else line + "\n\\ No newline at end of file\n")
    if not lines:
        raise NotInSourceError("the change leaves the source as it is")
    return "".join(lines)
