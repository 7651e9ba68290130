"""`isograd ripple`: how a small change of a parameter travels to the loss."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from isograd.cli import options, targets
from isograd.errors import IsogradError

if TYPE_CHECKING:
    from isograd.records.ripple import Ripple

NAME = "ripple"
HELP = "follow a small change of a parameter to the loss; --verify checks every gradient"
STDOUT = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `isograd ripple`."""
    parser.add_argument(
        "target", metavar="FILE.py:target", help="a function that returns (model, step)"
    )
    parser.add_argument(
        "--parameter", metavar="NAME", help="default: the first bias that has a gradient"
    )
    parser.add_argument(
        "--index",
        type=_entry,
        metavar="I[,J...]",
        help="change this entry alone, flat or one number for each dimension; default: all, "
        "along the gradient",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="check the gradient of every parameter by finite differences; exit 1 if one is wrong",
    )
    parser.add_argument(
        "--eps",
        type=_positive,
        metavar="X",
        help="step of the differences, relative to the parameter's norm; default: the best of "
        "several",
    )
    parser.add_argument(
        "--json",
        nargs="?",
        const=STDOUT,
        metavar="FILE",
        help="write JSON to FILE; without FILE print it, and nothing else, to stdout",
    )
    options.add_language(parser)
    parser.add_argument(
        "--width", type=options.positive, metavar="N", help="columns; default: the terminal's"
    )
    parser.add_argument("--full", action="store_true", help="fold nothing")


def run(args: argparse.Namespace) -> int:
    """Follow a change; 1 if `--verify` found a gradient that is not the derivative, else 0."""
    lang, only_json = options.language(args), args.json == STDOUT
    if args.json is not None and not only_json:
        options.check_writable(Path(args.json))
    # What the user's code prints must not end up in the JSON.
    shield = contextlib.redirect_stdout(sys.stderr) if only_json else contextlib.nullcontext()
    with shield, targets.loaded(args.target) as target:
        from isograd.capture.ripple import ripple

        found = ripple(
            target.model,
            target.step,
            args.parameter,
            args.index,
            eps=args.eps,
            verify=args.verify,
        )
    if args.json is not None:
        _write_json(found, args.json)
    if not only_json:
        from rich.console import Console

        from isograd.reporters.ripple_view import RippleReport

        console = Console(width=args.width, highlight=False)
        report = RippleReport(found, args.target, lang, width=console.width, full=args.full)
        console.print(report, soft_wrap=True)
    return 0 if found.verification is None or found.verification.ok else 1


def _write_json(found: Ripple, file: str) -> None:
    text = json.dumps(found.to_dict(), ensure_ascii=False, indent=2)
    if file == STDOUT:
        print(text)
        return
    try:
        Path(file).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise IsogradError(f"cannot write `{file}`: {error.strerror}.") from error


def _entry(text: str) -> int | tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be a whole number, or several with commas between, got {text!r}"
        ) from None
    return numbers[0] if len(numbers) == 1 else numbers


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must be a number between 0 and 1, got {text!r}")
    return value
