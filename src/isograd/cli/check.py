"""`isograd check`: measure a model once and judge it."""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isograd.cli import options, targets
from isograd.errors import IsogradError

if TYPE_CHECKING:
    from isograd.records import Diagnosis

NAME = "check"
HELP = "measure the gradient product of your model and name what is wrong"
STDOUT = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `isograd check`."""
    parser.add_argument(
        "target",
        nargs="?",
        metavar="FILE.py:target",
        help="a function that returns (model, step) or (model, step, optimizer), where "
        "step(model) returns the loss; `:target` may be left out; package.module:target works too",
    )
    parser.add_argument(
        "--json",
        nargs="?",
        const=STDOUT,
        metavar="FILE",
        help="write JSON to FILE; without FILE print it, and nothing else, to stdout",
    )
    options.add_html(parser)
    parser.add_argument(
        "--steps",
        type=options.count,
        default=0,
        metavar="N",
        help="also train a copy for N steps and show the learning speeds; default: 0",
    )
    parser.add_argument(
        "--parameter", metavar="NAME", help="show this parameter's chain; default: the slowest's"
    )
    parser.add_argument(
        "--seed", type=options.count, metavar="N", help="seed torch, random and numpy with N first"
    )
    options.add_language(parser)
    parser.add_argument(
        "--width", type=options.positive, metavar="N", help="columns; default: the terminal's"
    )
    parser.add_argument("--full", action="store_true", help="fold nothing")
    parser.add_argument("--quiet", action="store_true", help="print no report")


def run(args: argparse.Namespace) -> int:
    """Check a target; 0 if it is healthy, 1 with findings."""
    if args.target is None and args.json not in (None, STDOUT):
        args.target, args.json = args.json, STDOUT  # `--json FILE.py:target`
    if args.target is None:
        raise IsogradError(
            "which model? Give FILE.py:target.",
            causes=("`isograd check model.py:target`, where target() returns (model, step).",),
        )
    lang, page = options.language(args), options.page_file(args)
    only_json = args.json == STDOUT
    if args.json is not None and not only_json:
        options.check_writable(Path(args.json))
    # What the user's code prints must not end up in the JSON.
    shield = contextlib.redirect_stdout(sys.stderr) if only_json else contextlib.nullcontext()
    with shield:
        diagnosis = _diagnose(args)
    if args.parameter is not None:
        _require_parameter(diagnosis, args.parameter)
    if args.json is not None:
        _write_json(diagnosis, args.json)
    if not args.quiet and not only_json:
        _print(diagnosis, args, lang)
    if page is not None:
        _write(page, "html", diagnosis)
        if not args.quiet:
            print(f"page: {page}", file=sys.stderr if only_json else sys.stdout)
    return 0 if diagnosis.ok else 1


def _diagnose(args: argparse.Namespace) -> Diagnosis:
    from isograd import api

    if args.seed is not None:
        _seed(args.seed)
    with targets.loaded(args.target) as target:
        return api.check(
            target.model, target.step, target.optimizer, args.steps, target=args.target
        )


def _seed(seed: int) -> None:
    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _require_parameter(diagnosis: Diagnosis, name: str) -> None:
    try:
        diagnosis.snapshot.chain(name)
    except KeyError as error:
        raise IsogradError(f"--parameter: {error.args[0]}.") from None


def _write_json(diagnosis: Diagnosis, file: str) -> None:
    from isograd.records.finding import WRITERS

    if file == STDOUT:
        print(WRITERS["json"](diagnosis))
    else:
        _write(Path(file), "json", diagnosis)


def _write(path: Path, kind: str, diagnosis: Diagnosis) -> None:
    from isograd.records.finding import WRITERS

    text = WRITERS[kind](diagnosis)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise IsogradError(f"cannot write `{path}`: {error.strerror}.") from error


def _print(diagnosis: Diagnosis, args: argparse.Namespace, lang: str) -> None:
    from rich.console import Console

    console = Console(width=args.width, highlight=False)
    console.print(_report(diagnosis, args, lang, console.width), soft_wrap=True)


def _report(diagnosis: Diagnosis, args: argparse.Namespace, lang: str, width: int) -> Any:
    from isograd.reporters import chain_view, display, sections, terminal
    from isograd.reporters.language import speaker

    if args.parameter is None:
        return terminal.render(diagnosis, width=width, lang=lang, full=args.full)
    from rich.console import Group

    chain = diagnosis.snapshot.chain(args.parameter)
    shown = replace(
        display.build(diagnosis, lang, full=args.full),
        chain=chain_view.table(chain, full=args.full),
        kinds=(),
        modules=(),
    )
    lines = sections.report(shown, speaker(lang), max(width, terminal.MIN_WIDTH), args.full)
    return Group(*lines)
