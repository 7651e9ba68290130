"""`isograd runs`: what was recorded."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isograd.runfile import Summary

NAME = "runs"
HELP = "list recorded runs"
DIRECTORY = "isograd-runs"
_COLUMNS = ("run", "started", "last step", "loss", "verdict", "size", "ranks")
_UNITS = ("B", "KB", "MB", "GB", "TB")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `isograd runs`."""
    add_directory(parser)


def add_directory(parser: argparse.ArgumentParser) -> None:
    """Add `--dir`."""
    parser.add_argument(
        "--dir", default=DIRECTORY, help=f"where to look, also below; default: {DIRECTORY}"
    )


def run(args: argparse.Namespace) -> int:
    """Print one line for each run, the latest first."""
    from isograd.runfile import find_runs

    found = find_runs(args.dir)
    if not found:
        print(f"no runs in `{args.dir}`")
        return 0
    from rich.console import Console

    Console(highlight=False).print(table(found, Path(args.dir)))
    return 0


def table(found: list[Summary], root: Path):
    """A rich table of some runs."""
    from rich.table import Table
    from rich.text import Text

    out = Table(box=None, pad_edge=False)
    for name in _COLUMNS:
        right = name in ("last step", "loss", "size", "ranks")
        out.add_column(name, justify="right" if right else "left", overflow="fold")
    for item in found:
        cells = (
            name_of(item, root),
            "?" if item.started is None else time.strftime("%F %R", time.localtime(item.started)),
            "-" if item.last_step is None else str(item.last_step),
            "-" if item.loss is None else f"{item.loss:.4g}",
            verdict(item),
            size(item.size),
            str(len(item.ranks)),
        )
        out.add_row(*map(Text, cells))
    return out


def name_of(item: Summary, root: Path) -> str:
    """Path of a run below the directory that was searched."""
    name = str(item.path.relative_to(root))
    return root.name or str(root) if name == "." else name


def verdict(item: Summary) -> str:
    """How a run ended, in a few words."""
    if item.verdict is None:
        return "running" if item.running else "interrupted"
    return item.verdict or "ended"


def size(count: float) -> str:
    """Bytes for people.

    >>> size(512), size(1500), size(32 * 2**20)
    ('512 B', '1.5 KB', '34 MB')
    """
    units = iter(_UNITS)
    unit = next(units)
    while count >= 1000 and unit != _UNITS[-1]:
        count, unit = count / 1000, next(units)
    return f"{count:.{1 if count < 10 and unit != 'B' else 0}f} {unit}"
