"""A fix as a unified diff of the user's source."""

from __future__ import annotations

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
        The diff and the new text of every file in it.

    Raises:
        NotInSourceError: If the change cannot be mapped to the source.
    """
    source = Source(file, function)
    for part in fix.parts or (fix,):
        try:
            kinds()[part.name].edit(source, part, finding)
        except (IndexError, KeyError, AttributeError) as error:
            raise NotInSourceError(f"the source has another shape: {error}") from error
    return source.diff(), source.changed()
