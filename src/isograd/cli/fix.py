"""`isograd fix`: try fixes on copies and say which are proven."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isograd.cli import options, patching, targets
from isograd.errors import IsogradError

if TYPE_CHECKING:
    from isograd.fixes.patches.sites import Sites
    from isograd.records import Diagnosis
    from isograd.records.fix import Trial

NAME = "fix"
HELP = "try fixes for what a check finds, prove them on copies, and patch your source"
STDOUT = "-"
# Seconds: for the whole command by default, and the least and most of it for the trials.
_WHOLE, _LEAST, _MOST = 60.0, 30.0, 45.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `isograd fix`."""
    parser.add_argument(
        "target",
        metavar="FILE.py:target",
        help="a function that returns (model, step) or (model, step, optimizer), as for `check`",
    )
    parser.add_argument(
        "--steps",
        type=options.positive,
        metavar="N",
        help="training steps of each trial; default: up to 200, as many as the time allows",
    )
    parser.add_argument(
        "--seeds",
        type=options.positive,
        metavar="N",
        default=3,
        help="fresh seeds that a fix must win on to be proven, at least 2; default: 3",
    )
    parser.add_argument(
        "--time-limit",
        type=float,
        metavar="SECONDS",
        help="for all trials; what is known by then is shown; default: 45, or what the start and "
        "the check have left of a minute, 30 at least",
    )
    parser.add_argument(
        "--jobs", type=options.positive, metavar="N", default=2, help="at a time; default: 2"
    )
    parser.add_argument(
        "--backend",
        choices=("process", "serial"),
        default=None,
        help="a forked process for each trial, or all in this one; default: what fits",
    )
    parser.add_argument(
        "--patch", metavar="FILE", help="write the best proven fix as a unified diff"
    )
    parser.add_argument(
        "--apply", action="store_true", help="change your source; asks for a clean git tree"
    )
    parser.add_argument(
        "--json",
        nargs="?",
        const=STDOUT,
        metavar="FILE",
        help="write JSON to FILE; without FILE print it, and nothing else, to stdout",
    )
    options.add_html(parser, force="; with --apply: change files that git could not undo")
    options.add_language(parser)
    parser.add_argument(
        "--seed", type=options.count, metavar="N", help="seed torch, random and numpy with N first"
    )
    parser.add_argument(
        "--width", type=options.positive, metavar="N", help="columns; default: the terminal's"
    )
    parser.add_argument("--full", action="store_true", help="show every trial")
    parser.add_argument("--quiet", action="store_true", help="print no table")


def run(args: argparse.Namespace) -> int:
    """Fix a target; 0 if nothing is wrong or a fix is proven, 1 if none is."""
    if args.seeds < 2:
        raise IsogradError("--seeds must be at least 2: one seed proves nothing.")
    if args.time_limit is not None and args.time_limit <= 0:
        raise IsogradError("--time-limit must be above 0 seconds.")
    lang, page = options.language(args), options.page_file(args)
    for name in (args.patch, args.json if args.json != STDOUT else None):
        if name is not None:
            options.check_writable(Path(name))
    if args.apply:
        patching.require_clean(args.target, force=args.force)
    only_json = args.json == STDOUT
    shield = contextlib.redirect_stdout(sys.stderr) if only_json else contextlib.nullcontext()
    with shield:
        diagnosis, trials, sites, seconds = _tried(args, lang)
    chosen = next((t for t in trials if t.proven), None)
    _report(args, lang, diagnosis, trials, only_json, seconds)
    if page is not None:
        _write_page(page, diagnosis, trials, lang)
    if chosen is not None and (args.patch or args.apply):
        _patch(args, trials, sites, only_json)
    return 0 if diagnosis.ok or chosen is not None else 1


def trial_seconds(spent: float, checking: float) -> float:
    """Seconds for the trials by default, so that the command takes a minute.

    Args:
        spent: Since the command began.
        checking: Of that, in the check. To load and check a patched source takes as long again.

    >>> trial_seconds(5, 2), trial_seconds(15, 5), trial_seconds(40, 10)
    (45.0, 40.0, 30.0)
    """
    return min(_MOST, max(_LEAST, _WHOLE - spent - checking))


def _tried(args: argparse.Namespace, lang: str) -> tuple[Diagnosis, list[Trial], Sites, float]:
    began = time.monotonic()
    from isograd import api
    from isograd.cli import check
    from isograd.fixes.patches import sites
    from isograd.fixes.rewind import Rewind

    if args.seed is not None:
        check.seed_all(args.seed)
    with contextlib.ExitStack() as stack:
        with sites.recorded() as recorder:
            target = stack.enter_context(targets.loaded(args.target))
        found = recorder.of(target.model, target.optimizer)
        rewind = Rewind(target.step, target.train_step)
        steps = check.STEPS if target.optimizer is not None else 0
        checking = time.monotonic()
        diagnosis = api.check(
            target.model,
            target.step,
            target.optimizer,
            steps,
            train_step=target.train_step,
            target=args.target,
        )
        rewind.restore()
        if diagnosis.ok:
            return diagnosis, [], found, 0.0
        now = time.monotonic()
        limit = args.time_limit or trial_seconds(now - began, now - checking)
        with _bar(lang) as progress:
            trials = api.fix(
                target.model,
                target.step,
                target.optimizer,
                train_step=target.train_step,
                steps=args.steps,
                seeds=args.seeds,
                time_limit=limit,
                jobs=args.jobs,
                backend=args.backend,
                diagnosis=diagnosis,
                progress=progress,
            )
        rewind.restore()
    return diagnosis, patching.all_patched(trials, args.target, found), found, limit


@contextlib.contextmanager
def _bar(lang: str) -> Iterator[Any]:
    """A progress bar on stderr, drawn only between trials: no thread beside the forks."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from isograd.reporters.fix_words import ZH
    from isograd.reporters.language import speaker

    say = speaker(lang, ZH)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as bar:
        task = bar.add_task("", total=None)

        def progress(stage: str, done: int, total: int) -> None:
            bar.update(task, description=say(stage), completed=done, total=total, refresh=True)

        yield progress


def _report(
    args: argparse.Namespace,
    lang: str,
    diagnosis: Diagnosis,
    trials: Sequence[Trial],
    only_json: bool,
    seconds: float,
) -> None:
    if args.json is not None:
        data = {
            "schema": 1,
            "ok": diagnosis.ok,
            "verdict": diagnosis.verdict,
            "trials": [trial.to_dict() for trial in trials],
        }
        text = json.dumps(data, indent=2, allow_nan=False, ensure_ascii=False)
        if only_json:
            print(text)
        else:
            _write(Path(args.json), text + "\n")
    if args.quiet or only_json:
        return
    from rich.console import Console
    from rich.text import Text

    from isograd.reporters.fix_view import FixReport
    from isograd.reporters.fix_words import ZH
    from isograd.reporters.language import speaker, translate

    console = Console(width=args.width, highlight=False)
    if diagnosis.ok:
        console.print(Text(speaker(lang, ZH)("nothing to fix"), "bold green"))
        return
    for finding in diagnosis.findings:
        if finding.alarm:
            console.print(Text(f"{finding.code} {translate(finding.title, lang)}"))
    console.print()
    console.print(FixReport(trials, lang, full=args.full, seconds=seconds))
    best = next((t for t in trials if t.proven), None)
    if best is not None:
        from isograd.reporters.fix_patch import PatchReport

        console.print(PatchReport(best, lang), soft_wrap=True)


def _patch(
    args: argparse.Namespace, trials: Sequence[Trial], sites: Sites, only_json: bool
) -> None:
    best = patching.preferred(trials)
    if best is None:
        first = next(t for t in trials if t.proven)
        raise IsogradError(
            "the proven fix has no place in your source.",
            facts=tuple(first.fix.snippet.splitlines()),
            causes=("paste the lines above where they fit.",),
        )
    out = sys.stderr if only_json else sys.stdout
    if args.patch:
        _write(Path(args.patch), best.patch)
        if not args.quiet:
            folder = patching.folder(best, args.target, sites)
            print(f"patch: {args.patch}" + (f" (of {folder})" if folder else ""), file=out)
    if args.apply:
        for path in patching.apply(best, args.target, sites, force=args.force):
            print(f"changed: {path}", file=out)


def _write_page(page: Path, diagnosis: Diagnosis, trials: Sequence[Trial], lang: str) -> None:
    from isograd.reporters import fix_comparison, html

    comparison = fix_comparison.compared(trials, diagnosis)
    shown = dataclasses.replace(diagnosis, comparison=comparison)
    _write(page, html.page(shown, lang))


def _write(path: Path, text: str) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
    except OSError as error:
        raise IsogradError(f"cannot write `{path}`: {error.strerror}.") from error
