"""`isograd check`: measure a model once and judge it."""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from isograd.cli import options, targets
from isograd.errors import IsogradError

if TYPE_CHECKING:
    from isograd.cli.returned import Target
    from isograd.records import Diagnosis
    from isograd.records.prediction import Prediction

NAME = "check"
HELP = "measure the gradient product of your model and name what is wrong"
STDOUT = "-"
# Long enough for a wrong rate to show, short enough for seconds.
STEPS = 50


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
        metavar="N",
        help="also train a copy for N steps with a copy of the optimizer, and judge that too; "
        f"default: {STEPS} if the target returns an optimizer, else 0",
    )
    parser.add_argument(
        "--parameter", metavar="NAME", help="show this parameter's chain; default: the slowest's"
    )
    parser.add_argument(
        "--theory",
        action="store_true",
        help="also show what theory says of each gain, beside four ways of measuring it",
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
        diagnosis, prediction = _diagnose(args)
    if args.parameter is not None:
        _require_parameter(diagnosis, args.parameter)
    if args.json is not None:
        _write_json(diagnosis, prediction, args.json)
    if not args.quiet and not only_json:
        _print(diagnosis, prediction, args, lang)
    if page is not None:
        from isograd.reporters import html

        _write(page, html.page(diagnosis, lang))
        if not args.quiet:
            print(f"page: {page}", file=sys.stderr if only_json else sys.stdout)
    return 0 if diagnosis.ok else 1


def _diagnose(args: argparse.Namespace) -> tuple[Diagnosis, Prediction | None]:
    from isograd import api

    if args.seed is not None:
        seed_all(args.seed)
    with targets.loaded(args.target) as target:
        steps = args.steps
        if steps is None:
            steps = STEPS if target.optimizer is not None else 0
        diagnosis = api.check(
            target.model,
            target.step,
            target.optimizer,
            steps,
            train_step=target.train_step,
            target=args.target,
        )
        return diagnosis, _predict(target, diagnosis) if args.theory else None


def _predict(target: Target, diagnosis: Diagnosis) -> Prediction:
    try:
        from isograd.capture.predict import predict
    except ModuleNotFoundError as error:  # scipy is an extra
        raise IsogradError(f"--theory: {error}.") from error
    return predict(target.model, target.step, snapshot=diagnosis.snapshot)


def seed_all(seed: int) -> None:
    """Seed torch, random and numpy."""
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


def _write_json(diagnosis: Diagnosis, prediction: Prediction | None, file: str) -> None:
    from isograd.records.finding import WRITERS

    text = WRITERS["json"](diagnosis)
    if prediction is not None:
        data = {**json.loads(text), "theory": prediction.to_dict()}
        text = json.dumps(data, indent=2, allow_nan=False, ensure_ascii=False)
    if file == STDOUT:
        print(text)
    else:
        _write(Path(file), text)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise IsogradError(f"cannot write `{path}`: {error.strerror}.") from error


def _print(
    diagnosis: Diagnosis, prediction: Prediction | None, args: argparse.Namespace, lang: str
) -> None:
    from rich.console import Console

    from isograd.reporters import terminal

    console = Console(width=args.width, highlight=False)
    report = terminal.render(
        diagnosis, width=console.width, lang=lang, full=args.full, parameter=args.parameter
    )
    console.print(report, soft_wrap=True)
    if prediction is not None:
        from isograd.reporters.theory_view import TheoryReport

        theory = TheoryReport(prediction, lang, width=console.width, full=args.full)
        console.print(theory, soft_wrap=True)
