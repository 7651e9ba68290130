"""`isograd run`: any training program, unchanged."""

from __future__ import annotations

import argparse
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isograd.cli import options, program_file, run_end
from isograd.cli.status_line import StatusLine
from isograd.errors import IsogradError

if TYPE_CHECKING:
    from isograd.monitor.alarms import Alarm
    from isograd.monitor.watch import Watch

NAME = "run"
HELP = "run a training program and watch it"
DIRECTORY = "isograd-runs"
_REFRESH = 0.25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `isograd run`."""
    parser.add_argument(
        "--name", metavar="NAME", help="what the run is called; default: the program's name"
    )
    parser.add_argument("--run", metavar="DIR", help=f"run directory; default: {DIRECTORY}/NAME")
    parser.add_argument(
        "--budget",
        type=_budget,
        default=0.01,
        metavar="SHARE",
        help="share of the training's time that watching may take, or `none`; default: 0.01",
    )
    parser.add_argument(
        "--guard",
        choices=("skip", "stop"),
        help="leave out a step whose gradient is not finite, or stop there",
    )
    parser.add_argument("--webhook", metavar="URL", help="post each alarm there as JSON")
    parser.add_argument(
        "--fail-on",
        choices=("finding", "alarm"),
        help="exit with 1 if the program succeeds but there is a finding, or an alarm",
    )
    parser.add_argument("--full", action="store_true", help="show all evidence at the end")
    parser.add_argument(
        "--replay",
        action="store_true",
        help="keep every step, beyond the budget, so that one that turns NaN is run again and its "
        "first bad op named; if that fails, run the program again up to there",
    )
    parser.add_argument("--quiet", action="store_true", help="no status line, no verdict")
    options.add_language(parser)
    parser.add_argument(
        "-m", dest="module", nargs=argparse.REMAINDER, help="run a module, as `python -m` does"
    )
    parser.add_argument("program", nargs=argparse.REMAINDER, help="FILE.py and its arguments")


def run(args: argparse.Namespace) -> int:
    """Run the program; its exit code, unless `--fail-on` asks for more."""
    program, module = _program(args)
    from isograd.monitor.again import generators
    from isograd.monitor.journal import place
    from isograd.monitor.launch import launch
    from isograd.reporters import run_status
    from isograd.reporters.language import translate

    directory = _directory(args, program[0], module)
    lang = options.language(args)
    watches: list[Watch] = []
    alarms: list[Alarm] = []
    speaks = not args.quiet and place()[0] == 0
    line = StatusLine()
    begun = generators()

    def alarmed(alarm: Alarm) -> None:
        alarms.append(alarm)
        if speaks:
            message = translate(alarm.message, lang)
            text = run_status.line("step {n}: {message}", lang, n=alarm.step, message=message)
            line.tell(text)

    def starts(model: Any, optimizers: Any) -> Watch:
        import isograd

        watch = isograd.watch(
            model,
            optimizers,
            run=directory if not watches else f"{directory}-part{len(watches) + 1}",
            budget=args.budget,
            on_alarm=alarmed,
            webhook=args.webhook,
            guard=args.guard,
            replay=args.replay,
        )
        program_file.write(watch.run, program, module, len(watches), begun)
        return watch

    done = threading.Event()
    if speaks:
        line.open()
        threading.Thread(target=_follow, args=(line, watches, done, lang), daemon=True).start()
    try:
        ending = launch(program, module, starts, watches)
    finally:
        done.set()
        line.close()
    run_end.tell_error(ending)
    return run_end.conclude(args, ending, watches, alarms, speaks)


def _directory(args: argparse.Namespace, program: str, module: bool) -> Path:
    """Where the run goes.

    Raises:
        IsogradError: If the name would lead elsewhere.
    """
    if args.run:
        return Path(args.run)
    if args.name is not None:
        if Path(args.name).name != args.name or args.name in ("", ".", ".."):
            raise IsogradError(
                f"`{args.name}` cannot be a run's name.",
                causes=(f"it becomes one directory below {DIRECTORY}/; --run takes any path.",),
            )
        return Path(DIRECTORY) / args.name
    name = program.rpartition(".")[2] if module else Path(program).resolve().stem
    return Path(DIRECTORY) / name


def _program(args: argparse.Namespace) -> tuple[list[str], bool]:
    """What to run.

    Raises:
        IsogradError: If nothing is named, or there is no such file.
    """
    if args.module:
        return args.module, True
    if not args.program:
        raise IsogradError(
            "which program? Give its file, or -m and its module.",
            causes=("`isograd run train.py --lr 0.1`", "`isograd run -m package.train --lr 0.1`"),
        )
    file = Path(args.program[0])
    if not file.exists():
        raise IsogradError(
            f"there is no file `{file}`.",
            causes=(
                "options of isograd come before the file, those of the program after it",
                "a module is run with -m",
            ),
        )
    return args.program, False


def _follow(line: StatusLine, watches: list[Watch], done: threading.Event, lang: str) -> None:
    """Draw the status line until the program ends."""
    from isograd.reporters.run_status import status

    while not done.wait(_REFRESH):
        if watches and line.due():
            try:
                facts = watches[-1].facts()
                if facts.steps:
                    line.show(status(facts, lang))
            except RuntimeError:  # changed while it was read; the next one will do
                continue


def _budget(text: str) -> float | None:
    """A share of time, for argparse.

    Raises:
        argparse.ArgumentTypeError: If it is none.
    """
    if text.lower() == "none":
        return None
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 10:
        raise argparse.ArgumentTypeError(f"must be a share such as 0.01, or none; got {text!r}")
    return share
