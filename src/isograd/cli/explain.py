"""`isograd explain`: what a finding's code means, and the derivation as a page."""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from pathlib import Path

from isograd.cli import options
from isograd.errors import IsogradError

NAME = "explain"
HELP = "say what a finding's code means; without a code, list them and open the derivation"
PAGE = "isograd-explain.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `isograd explain`."""
    parser.add_argument("code", nargs="?", metavar="CODE", help="such as G101")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="write the derivation, a page to play with that needs no network; "
        f"default, where the output is a terminal: {PAGE}",
    )
    parser.add_argument("--no-open", action="store_true", help="do not open the page in a browser")
    parser.add_argument(
        "--force",
        action="store_true",
        help="overwrite FILE even if it is no isograd page (its own pages are always renewed)",
    )
    options.add_language(parser)


def run(args: argparse.Namespace) -> int:
    """Print one rule's documentation; or a line for each rule, and show the page."""
    from isograd.rules import documentation, rules

    if args.code is not None:
        if args.out is not None:
            raise IsogradError("give either CODE or --out: the page explains no single code.")
        try:
            print(documentation(args.code, options.language(args)))
        except KeyError as error:
            raise IsogradError(f"{error.args[0]}.") from None
        return 0
    if args.out is None:
        for rule in rules():
            print(documentation(rule.CODE, options.language(args)).splitlines()[0])
        if not sys.stdout.isatty():
            # Not among the codes, which another program may read.
            print(f"The derivation as a page: isograd explain --out {PAGE}", file=sys.stderr)
            return 0
    _show(args)
    return 0


def _show(args: argparse.Namespace) -> None:
    """Write the page, and open it where a person can see it."""
    from isograd.reporters import explain

    path = options.page_file(argparse.Namespace(html=args.out or PAGE, force=args.force))
    assert path is not None
    path.write_text(explain.page(options.language(args)), encoding="utf-8")
    print(f"The derivation as a page: {path}")
    if sys.stdout.isatty() and not args.no_open:
        _open(path)


def _open(path: Path) -> None:
    """Open the page; where that fails the path has been printed already."""
    screen = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    if sys.platform.startswith("linux") and not any(map(os.environ.get, screen)):
        return  # only a text browser could be found, which would take over the terminal
    try:
        webbrowser.open(path.resolve().as_uri())
    except (webbrowser.Error, OSError):
        pass
