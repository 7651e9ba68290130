"""`isograd report`: a recorded run as one page."""

from __future__ import annotations

import argparse
from pathlib import Path

from isograd.cli import options, run_path
from isograd.errors import IsogradError

NAME = "report"
HELP = "write a recorded run as one page that needs no network"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `isograd report`."""
    run_path.add_run(parser)
    parser.add_argument("--out", metavar="FILE", help="default: the run's name with .html, here")
    parser.add_argument(
        "--force",
        action="store_true",
        help="overwrite FILE even if it is no isograd page (its own pages are always renewed)",
    )
    options.add_language(parser)


def run(args: argparse.Namespace) -> int:
    """Write the page; 0 if it is written."""
    from isograd import api  # the rules' Chinese comes with it
    from isograd.reporters import run_page
    from isograd.runfile import load

    path = run_path.resolve(args.path)
    name = run_path.name(path)
    loaded = load(path, args.rank)
    lang = options.language(args)
    out = options.page_file(argparse.Namespace(html=args.out or f"{name}.html", force=args.force))
    assert out is not None
    assert api is not None
    status = run_path.status(path, loaded.verdict)
    state = run_page.of(loaded, name, str(path.resolve()), status)
    write(out, run_page.page(state, lang))
    for text in state.damage:
        print(text)
    print(f"{out}: {len(loaded.steps)} steps, {len(loaded.parameters)} parameters")
    return 0


def write(out: Path, text: str) -> None:
    """Write a page.

    Raises:
        IsogradError: If it cannot be written.
    """
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise IsogradError(f"cannot write `{out}`: {error.strerror}.") from error
