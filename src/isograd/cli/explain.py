"""`isograd explain`: what a finding's code means."""

from __future__ import annotations

import argparse

from isograd.errors import IsogradError

NAME = "explain"
HELP = "say what a finding's code means; without a code, list them"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `isograd explain`."""
    parser.add_argument("code", nargs="?", metavar="CODE", help="such as G101")


def run(args: argparse.Namespace) -> int:
    """Print one rule's documentation, or a line for each rule."""
    from isograd.rules import documentation, rules

    if args.code is None:
        for rule in rules():
            print((rule.__doc__ or rule.CODE).strip().splitlines()[0])
        return 0
    try:
        print(documentation(args.code))
    except KeyError as error:
        raise IsogradError(f"{error.args[0]}.") from None
    return 0
