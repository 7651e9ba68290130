"""`isograd export`: a run in another program's format."""

from __future__ import annotations

import argparse
from pathlib import Path

from isograd.cli import options, run_path
from isograd.errors import IsogradError

NAME = "export"
HELP = "write a run as CSV, SQLite, Parquet, TensorBoard or W&B"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `isograd export`."""
    run_path.add_run(parser)
    parser.add_argument(
        "--to", required=True, metavar="FORMAT", help="csv, parquet, sqlite, tensorboard or wandb"
    )
    parser.add_argument(
        "--output", metavar="PATH", help="default: the run's name with the format's ending, here"
    )
    parser.add_argument(
        "--wide",
        action="store_true",
        help="one row a step, a column for each number; default: one row a number "
        "(step, name, statistic, value)",
    )
    parser.add_argument(
        "--every", type=options.positive, default=1, metavar="N", help="only every Nth step"
    )
    parser.add_argument("--force", action="store_true", help="replace what is there")


def run(args: argparse.Namespace) -> int:
    """Write the export; 0 if it is written."""
    from isograd.runfile import exports, load

    known = exports.formats()
    if args.to not in known:
        raise IsogradError(f"no format {args.to!r}; there are {', '.join(known)}.")
    path = run_path.resolve(args.path)
    name = run_path.name(path)
    output = Path(args.output) if args.output else Path(name + known[args.to].SUFFIX)
    loaded = load(path, args.rank)
    if args.every > 1:
        loaded = loaded.take(loaded.steps[:: args.every])
    exports.export(loaded, args.to, output, wide=args.wide, force=args.force)
    for damage in loaded.damage:
        print(f"not readable in {damage.file}: {damage.length} bytes, {damage.reason}")
    print(f"{output}: {len(loaded.steps)} steps, {len(loaded.parameters)} parameters")
    return 0
