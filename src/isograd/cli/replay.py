"""`isograd replay`: a bad step once more, and the first op of it that went wrong."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isograd.cli import options, run_path
from isograd.errors import IsogradError
from isograd.runfile import bad_steps

if TYPE_CHECKING:
    from isograd.records.bad_step import BadStep
    from isograd.runfile.bad_steps import Saved

NAME = "replay"
HELP = "run a step that turned NaN again and name the first op that went wrong"
_AGAIN = "`isograd replay RUN --again` runs the program again, up to that step."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `isograd replay`."""
    run_path.add_run(parser)
    parser.add_argument(
        "--step", type=options.count, metavar="N", help="default: the first bad one"
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="run the whole program again up to the step, with all it does and writes, instead "
        "of the step from what was saved",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options.add_language(parser)


def run(args: argparse.Namespace) -> int:
    """Print where it began: 1 if that was found, 0 if all stays finite, 2 on failure."""
    path = run_path.resolve(args.path)
    directory = path.parent if path.is_file() else path
    saved = bad_steps.find_bad_steps(directory) if directory.is_dir() else []
    if args.rank is not None:
        saved = [one for one in saved if one.rank == args.rank]
    if not saved or args.again:
        from isograd.runfile import load

        load(path, args.rank)  # tells what is wrong with the path
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise IsogradError(
            "running a step again needs torch, which is not installed here.",
            causes=("replay on the machine that trains, or `pip install torch`.",),
        ) from error
    if args.again:
        bad, before = _program_again(path, args, saved), None
    else:
        chosen = _chosen(saved, args.step, path, args.rank)
        bad, before = _step_again(chosen), chosen.bad
    _print(args, bad, before)
    return 0 if bad is None else 1


def _chosen(saved: list[Saved], step: int | None, path: Path, rank: int | None) -> Saved:
    """The saved step that is meant.

    Raises:
        IsogradError: If there is none.
    """
    wanted = saved[0].step if saved and step is None else step
    same = [one for one in saved if one.step == wanted]
    if same:  # of several ranks, one whose own part went wrong
        return next((one for one in same if one.bad.located), same[0])
    if saved:
        listed = ", ".join(str(one.step) for one in saved)
        raise IsogradError(
            f"step {step} was not saved; there is {listed}.",
            causes=("leave out --step for the first.", _AGAIN),
        )
    first = _first_bad(path, rank)
    if first is None:
        raise IsogradError(
            f"no bad step in `{path}`: every loss and gradient that was recorded is finite.",
            causes=(
                "the training was healthy: there is nothing to run again.",
                "it went wrong between records: `isograd run --replay` looks at every step.",
            ),
        )
    raise IsogradError(
        f"step {first} of `{path}` is not finite, but it was not saved.",
        causes=(
            "keeping every step was beyond the budget: " + _AGAIN,
            "next time `isograd run --replay` keeps every step.",
        ),
    )


def _first_bad(path: Path, rank: int | None) -> int | None:
    """First step of a run whose loss or gradient is recorded as not finite."""
    from isograd.runfile import load

    loaded = load(path, rank)
    steps = [event.step for event in loaded.events if event.name in ("nonfinite", "bad-step")]
    scalars = loaded.scalars
    for name in ("nonfinite", "loss"):
        for step, value in zip(loaded.steps, scalars.get(name, ()), strict=False):
            if (name == "nonfinite" and value == 1) or math.isinf(value):
                steps.append(int(step))
                break
    return min(steps, default=None)


def _step_again(chosen: Saved) -> BadStep | None:
    from isograd.monitor import bad_files
    from isograd.monitor.bad_hunt import hunted

    suspect = bad_files.load(chosen.head, chosen.path)
    try:
        return hunted(suspect)
    except Exception as error:
        raise IsogradError(
            f"step {chosen.step} could not be run again: {type(error).__name__}: {error}",
            causes=(
                "the model needs something that only its program sets up: " + _AGAIN,
                "it needs a device that is not here: run it on the machine that trained.",
            ),
        ) from error


def _program_again(path: Path, args: argparse.Namespace, saved: list[Saved]) -> BadStep | None:
    """Run the program once more.

    Raises:
        IsogradError: If it is not known, or ends otherwise than before.
    """
    from isograd.monitor.again import BEFORE, Again

    step = args.step
    if step is None:
        step = saved[0].step if saved else _first_bad(path, args.rank)
    if step is None:
        raise IsogradError(
            f"which step? None of `{path}` is recorded as not finite; give --step N.",
        )
    known = program_of(path)
    again = Again(max(0, step - BEFORE), step + 1, known["part"])
    here, quiet = os.getcwd(), open(os.devnull, "w")
    try:
        os.chdir(known["directory"])
        with quiet, contextlib.redirect_stdout(quiet):
            ending = again.run(known["program"], known["module"], known)
    except OSError as error:
        raise IsogradError(f"cannot run the program again: {error}.") from error
    finally:
        os.chdir(here)
    if again.bad is None and ending is not None and ending.error is not None:
        raise IsogradError(
            f"the program raised at step {again.steps}, before anything was not finite: "
            f"{type(ending.error).__name__}: {ending.error}",
        )
    if again.bad is None and again.steps < step:
        raise IsogradError(
            f"the program ended after {again.steps} steps; step {step} was to be looked at.",
            causes=("it goes on from a checkpoint, or has less to do, than when it was recorded.",),
        )
    return again.bad


def program_of(path: Path) -> dict[str, Any]:
    """The program of a run.

    Raises:
        IsogradError: If it is not known.
    """
    from isograd.runfile import load

    directory = path.parent if path.is_file() else path
    file = directory / bad_steps.PROGRAM
    if file.exists():
        return json.loads(file.read_text(encoding="utf-8"))
    meta = load(path).meta
    command = meta.get("command") or [""]
    script = Path(meta.get("directory") or ".") / command[0]
    if not script.is_file() or any("***" in word for word in command):
        raise IsogradError(
            "the program of this run is not known.",
            facts=(f"command: {' '.join(command)}",),
            causes=(
                "it was a notebook, or its arguments hold a secret, which is not written down.",
                "run it with `isograd run --replay`, which keeps every step.",
            ),
        )
    return {
        "program": [str(script), *command[1:]],
        "module": False,
        "directory": meta.get("directory") or ".",
        "part": 0,
    }


def _print(args: argparse.Namespace, bad: BadStep | None, before: BadStep | None) -> None:
    if args.json:
        print(
            json.dumps(
                {
                    "schema": 1,
                    "bad": None if bad is None else bad.to_dict(),
                    "found_in_training": None if before is None else before.to_dict(),
                },
                ensure_ascii=False,
            )
        )
        return
    from rich.console import Console

    from isograd.reporters import bad_step_view

    console = Console(file=sys.stdout, highlight=False)
    for line in bad_step_view.replayed(bad, before, options.language(args)):
        console.print(line, soft_wrap=True)
