"""What bad steps a run has saved; reading that needs no torch."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isograd.errors import IsogradError
from isograd.records.bad_step import BadStep

# Newer files than this cannot be read.
FORMAT = 1
# How the program was started, beside the run file.
PROGRAM = "program.json"
_OWN = re.compile(r"bad-\d+-rank\d+\.(json|pt)(\.part)?")
_NAME = re.compile(r"bad-(\d+)-rank(\d+)\.json")


@dataclass(frozen=True, slots=True)
class Saved:
    """A bad step beside a run file.

    Attributes:
        path: The file that says what was found.
        step: Number of the step.
        rank: Whose it is.
        head: What the file says.
    """

    path: Path
    step: int
    rank: int
    head: dict[str, Any]

    @property
    def bad(self) -> BadStep:
        """What was found while it trained."""
        return BadStep.from_dict(self.head["bad"])


def is_own(name: str) -> bool:
    """True for a file beside the run file that isograd wrote."""
    return name == PROGRAM or _OWN.fullmatch(name) is not None


def find_bad_steps(directory: Path) -> list[Saved]:
    """Bad steps of a run, oldest first.

    Raises:
        IsogradError: If a newer version wrote one, or one cannot be read.
    """
    found: list[Saved] = []
    for path in sorted(directory.glob("bad-*.json")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        try:
            head = json.loads(path.read_text(encoding="utf-8"))
            version = int(head["format"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise IsogradError(
                f"cannot read `{path}`: {type(error).__name__}: {error}.",
                causes=("the file was damaged; `isograd replay --again` does not need it.",),
            ) from error
        if version > FORMAT:
            raise IsogradError(
                f"`{path}` was written by isograd {head.get('isograd')}, format {version}; this "
                f"version reads up to {FORMAT}.",
                causes=("update isograd.",),
            )
        found.append(Saved(path, int(match[1]), int(match[2]), head))
    return sorted(found, key=lambda saved: (saved.step, saved.rank))
