"""`isograd compare`: where two runs part."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from isograd.cli import options, run_path
from isograd.errors import IsogradError

NAME = "compare"
HELP = "show where two runs first part, layer by layer, beyond their own noise"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `isograd compare`."""
    for name in ("A", "B"):
        parser.add_argument(
            name.lower(),
            metavar=name,
            help="a run directory, a file in it, or a name below isograd-runs/",
        )
    parser.add_argument("--rank", type=options.count, metavar="N", help="default: the lowest")
    parser.add_argument(
        "--statistic",
        default="grad_norm",
        metavar="NAME",
        help="which number of the layers; default: grad_norm",
    )
    parser.add_argument("--all", action="store_true", help="show all layers, not the first 40")
    parser.add_argument("--out", metavar="FILE", help="write a page that needs no network")
    parser.add_argument("--json", metavar="FILE", help="write the comparison; - for the terminal")
    parser.add_argument(
        "--force", action="store_true", help="overwrite a page that is no isograd page"
    )
    parser.add_argument(
        "--columns", type=options.positive, metavar="N", help="default: the terminal's"
    )
    options.add_language(parser)


def run(args: argparse.Namespace) -> int:
    """Compare; 0 whatever it shows."""
    from isograd.reporters.compare import compare
    from isograd.runfile import load

    page = options.page_file(argparse.Namespace(html=args.out, force=args.force))
    lang = options.language(args)
    paths = [run_path.resolve(text) for text in (args.a, args.b)]
    runs = [load(path, args.rank) for path in paths]
    names = _names(paths)
    for loaded, name in zip(runs, names, strict=True):
        if loaded.parameters and args.statistic not in loaded.statistics:
            raise IsogradError(
                f"`{name}` has no {args.statistic!r}; it has {', '.join(loaded.statistics)}."
            )
    found = compare(runs[0], runs[1], names, args.statistic)
    text = json.dumps(found.to_dict(), ensure_ascii=False, allow_nan=False, indent=1, default=str)
    if args.json == "-":
        print(text)
    else:
        from rich.console import Console

        from isograd.reporters.compare.text import CompareReport

        console = Console(width=args.columns, highlight=False)
        console.print(CompareReport(found, lang, args.all), soft_wrap=True)
    if args.json not in (None, "-"):
        _write(Path(args.json), text + "\n")
    if page is not None:
        from isograd.reporters.compare.page import page as whole

        _write(page, whole(found, runs[0], runs[1], args.statistic, lang))
        if args.json != "-":
            print(page)
    return 0


def _names(paths: list[Path]) -> tuple[str, str]:
    """Names of the runs; their paths where the names are the same."""
    a, b = (run_path.name(path) for path in paths)
    return (a, b) if a != b else (str(paths[0]), str(paths[1]))


def _write(path: Path, text: str) -> None:
    options.check_writable(path)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise IsogradError(f"cannot write `{path}`: {error.strerror}.") from error
