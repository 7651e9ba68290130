"""`isograd gc`: delete old runs."""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path

from isograd.cli import options, runs
from isograd.errors import IsogradError

NAME = "gc"
HELP = "delete old runs, after asking"
_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `isograd gc`."""
    runs.add_directory(parser)
    parser.add_argument(
        "--older-than",
        type=age,
        metavar="AGE",
        help="runs not written for so long: a number with m, h, d or w, such as 30d",
    )
    parser.add_argument(
        "--keep", type=options.count, metavar="N", help="all but the N written last"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")


def age(text: str) -> float:
    """Seconds of an age, for argparse.

    >>> age("30d"), age("2h")
    (2592000.0, 7200.0)

    Raises:
        argparse.ArgumentTypeError: If it is something else.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"must be a number with m, h, d or w, got {text!r}")
    return float(match[1]) * _SECONDS[match[2]]


def run(args: argparse.Namespace) -> int:
    """Delete the runs that all given conditions fit, except running ones."""
    from isograd.runfile import catalogue

    if args.older_than is None and args.keep is None:
        raise IsogradError(
            "which runs? Give --older-than, --keep, or both.",
            causes=("`isograd gc --older-than 30d` deletes what is older than 30 days.",),
        )
    root = Path(args.dir)
    chosen = catalogue.find_runs(root)[args.keep or 0 :]
    if args.older_than is not None:
        chosen = [item for item in chosen if time.time() - item.modified > args.older_than]
    chosen = [item for item in chosen if not item.running]
    if not chosen:
        print("nothing to delete")
        return 0
    runs.show(chosen, root)
    total = runs.size(sum(item.size for item in chosen))
    these = "this run" if len(chosen) == 1 else f"these {len(chosen)} runs"
    if not args.yes and not _agreed(f"delete {these}, {total}? [y/N] "):
        print("nothing was deleted")
        return 0
    for item in chosen:
        try:
            gone = catalogue.delete(item.path)
        except (OSError, ValueError) as error:
            raise IsogradError(f"cannot delete `{item.path}`: {error}.") from error
        if not gone:
            print(f"kept `{item.path}`: it holds other files, too; only the run's were deleted")
    print(f"deleted {len(chosen)} run{'s' if len(chosen) > 1 else ''}, {total}")
    return 0


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise IsogradError(
            "will not delete without asking, and there is no terminal to ask at.",
            causes=("a script calls it: add --yes.",),
        )
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False
