"""Which run is meant: a path, a name below `isograd-runs/`, or the latest."""

from __future__ import annotations

import argparse
from pathlib import Path

from isograd.cli.runs import DIRECTORY
from isograd.errors import IsogradError


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add RUN and `--rank`."""
    from isograd.cli import options

    parser.add_argument(
        "path",
        metavar="RUN",
        nargs="?",
        help=f"a run directory, a file in it, or a name below {DIRECTORY}/; default: the latest",
    )
    parser.add_argument("--rank", type=options.count, metavar="N", help="default: the lowest")


def resolve(text: str | None) -> Path:
    """The run that is meant.

    Args:
        text: What was given; None for the latest.

    Raises:
        IsogradError: If nothing was given and there is no run.
    """
    if text is not None:
        path = Path(text)
        below = Path(DIRECTORY) / text
        return below if not path.exists() and below.exists() else path
    from isograd.runfile import find_runs

    found = find_runs(DIRECTORY)
    if not found:
        raise IsogradError(
            f"no runs in `{DIRECTORY}`.",
            causes=(
                "no training was recorded yet: `isograd run train.py` writes one.",
                "the run lies elsewhere: give its path.",
            ),
        )
    return found[0].path


def name(path: Path) -> str:
    """What a run is called: the name of its directory."""
    path = path.resolve()
    return path.parent.name if path.is_file() else path.name


def status(path: Path, verdict: str | None) -> str:
    """How a run stands: `running`, `ended` or `interrupted`."""
    from isograd.runfile.catalogue import summarize

    if verdict is not None:
        return "ended"
    directory = path.parent if path.is_file() else path
    try:
        return "running" if summarize(directory).running else "interrupted"
    except (OSError, IndexError):
        return "interrupted"
