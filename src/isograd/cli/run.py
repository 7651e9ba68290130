"""`isograd run`: any training program, unchanged."""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isograd.cli import options, program_file
from isograd.cli.status_line import StatusLine
from isograd.errors import IsogradError

if TYPE_CHECKING:
    from isograd.monitor.alarms import Alarm
    from isograd.monitor.launch import Ending
    from isograd.monitor.watch import Watch

NAME = "run"
HELP = "run a training program and watch it"
DIRECTORY = "isograd-runs"
_REFRESH = 0.25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `isograd run`."""
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

    name = Path(program[0]).stem if not module else program[0].rpartition(".")[2]
    directory = Path(args.run) if args.run else Path(DIRECTORY) / name
    watches: list[Watch] = []
    alarms: list[Alarm] = []
    speaks = not args.quiet and place()[0] == 0
    line = StatusLine()
    begun = generators()

    def alarmed(alarm: Alarm) -> None:
        alarms.append(alarm)
        if speaks:
            line.clear()
            print(f"isograd: step {alarm.step}: {alarm.message}", file=line.stream)

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
        threading.Thread(target=_follow, args=(line, watches, done), daemon=True).start()
    try:
        ending = launch(program, module, starts, watches)
    finally:
        done.set()
        line.close()
    _tell_error(ending)
    return _conclude(args, ending, watches, alarms, speaks)


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


def _tell_error(ending: Ending) -> None:
    """Show what the program raised, as Python would."""
    error = ending.error
    if error is None:
        return
    from isograd.monitor.launch import own_frames_left_out

    trace = own_frames_left_out(error)
    sys.excepthook(type(error), error.with_traceback(trace), trace)


def _conclude(
    args: argparse.Namespace,
    ending: Ending,
    watches: list[Watch],
    alarms: list[Alarm],
    speaks: bool,
) -> int:
    lang = options.language(args)
    fine = True
    if not watches and speaks:
        print("isograd: no training was seen: no optimizer of torch took a step", file=sys.stderr)
    for watch in watches:
        if speaks and watch.steps:
            print("isograd: judging the run (Ctrl-C skips it)", file=sys.stderr)
        try:
            watch.ending = _words(ending)
            watch.saw_error(ending.error or ending.left)
            watch.close()
        except KeyboardInterrupt:
            print("isograd: skipped", file=sys.stderr)
        diagnosis = watch.concluded
        fine = fine and (diagnosis is None or diagnosis.ok)
        if speaks:
            _report(watch, lang)
        now = watch.facts()
        if args.replay and now.broke is not None and not any(b.located for b in now.bad_steps):
            program_file.run_again(watch.run, lang, speaks)
    failed = (args.fail_on == "finding" and not fine) or (args.fail_on == "alarm" and alarms)
    return 1 if failed and ending.code == 0 else ending.code


def _words(ending: Ending) -> str:
    if ending.error is not None:
        return f"stopped by {type(ending.error).__name__}"
    return "" if ending.code == 0 else f"ended with exit code {ending.code}"


def _report(watch: Watch, lang: str) -> None:
    """The verdict, on standard error: standard output is the program's."""
    from rich.console import Console

    from isograd.reporters import terminal
    from isograd.reporters.run_status import ending_lines

    console = Console(stderr=True, highlight=False)
    diagnosis = watch.concluded
    if diagnosis is not None and not diagnosis.ok:
        report = terminal.render(diagnosis, width=console.width, lang=lang)
        console.print(report, soft_wrap=True)
    for text in ending_lines(watch.facts(), lang):
        console.print(text, soft_wrap=True)


def _follow(line: StatusLine, watches: list[Watch], done: threading.Event) -> None:
    """Draw the status line until the program ends."""
    from isograd.reporters.run_status import status

    while not done.wait(_REFRESH):
        if watches and line.due():
            try:
                line.show(status(watches[-1].facts()))
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
