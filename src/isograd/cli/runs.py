"""`isograd runs`: what was recorded."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isograd.cli import options

if TYPE_CHECKING:
    from isograd.runfile import Summary

NAME = "runs"
HELP = "list recorded runs"
DIRECTORY = "isograd-runs"
_UNITS = ("B", "KB", "MB", "GB", "TB")
# Cells where there is no terminal that would cut the lines: nothing is shortened for `grep`.
_WIDE = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `isograd runs`."""
    add_directory(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument(
        "--columns", type=options.positive, metavar="N", help="default: the terminal's"
    )
    options.add_language(parser)


def add_directory(parser: argparse.ArgumentParser) -> None:
    """Add `--dir`."""
    parser.add_argument(
        "--dir", default=DIRECTORY, help=f"where to look, also below; default: {DIRECTORY}"
    )


def run(args: argparse.Namespace) -> int:
    """Print one line for each run, the latest first."""
    from isograd.runfile import find_runs

    found = find_runs(args.dir)
    if args.json:
        facts = [{**dataclasses.asdict(item), "path": str(item.path)} for item in found]
        print(json.dumps(facts, indent=1, default=str))
        return 0
    if not found:
        print(f"no runs in `{args.dir}`; `isograd run train.py` records one")
        return 0
    show(found, Path(args.dir), options.language(args), args.columns)
    return 0


def show(found: list[Summary], root: Path, lang: str = "en", columns: int | None = None) -> None:
    """Print a table of runs.

    Args:
        found: The runs.
        root: Where they were looked for.
        lang: `en` or `zh`.
        columns: Cells of a line; by default the terminal's, and all there are without one.
    """
    from rich.console import Console

    if lang != "en":
        from isograd import api  # the rules' Chinese comes with it

        assert api is not None
    from isograd.reporters import run_list

    if columns is None and not sys.stdout.isatty():
        columns = _WIDE
    console = Console(width=columns, highlight=False)
    rows = [
        run_list.Row(
            name=name_of(item, root),
            started=started(item.started),
            last_step=item.last_step,
            loss=item.loss,
            verdict=item.verdict,
            ok=item.ok,
            ending=item.ending,
            running=item.running,
            size=size(item.size),
            ranks=len(item.ranks),
        )
        for item in found
    ]
    # A table stands two cells in, as below a heading; here is none.
    for line in run_list.table(rows, console.width + 2, lang):
        console.print(line[2:], soft_wrap=True)


def name_of(item: Summary, root: Path) -> str:
    """Path of a run below the directory that was searched."""
    name = str(item.path.relative_to(root))
    return root.name or str(root) if name == "." else name


def started(when: float | None, now: float | None = None) -> str:
    """When a run began, as short as can be: the time today, the day this year, the date."""
    if when is None:
        return "?"
    then, today = time.localtime(when), time.localtime(now)
    if then[:3] == today[:3]:
        return time.strftime("%H:%M", then)
    if then[0] == today[0]:
        return time.strftime("%m-%d %H:%M", then)
    return time.strftime("%Y-%m-%d", then)


def size(count: float) -> str:
    """Bytes for people.

    >>> size(512), size(1500), size(32 * 2**20)
    ('512 B', '1.5 KB', '34 MB')
    """
    units: Any = iter(_UNITS)
    unit = next(units)
    while count >= 1000 and unit != _UNITS[-1]:
        count, unit = count / 1000, next(units)
    return f"{count:.{1 if count < 10 and unit != 'B' else 0}f} {unit}"
