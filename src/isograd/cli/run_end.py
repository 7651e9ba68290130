"""The end of `isograd run`: the program's own error, the verdict, the exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from isograd.cli import options, program_file

if TYPE_CHECKING:
    from isograd.monitor.alarms import Alarm
    from isograd.monitor.launch import Ending
    from isograd.monitor.watch import Watch


def tell_error(ending: Ending) -> None:
    """Show what the program raised, as Python would without us."""
    error = ending.error
    if error is None:
        return
    from isograd.monitor.launch import as_without_us

    as_without_us(error)
    sys.excepthook(type(error), error, error.__traceback__)


def conclude(
    args: argparse.Namespace,
    ending: Ending,
    watches: Sequence[Watch],
    alarms: Sequence[Alarm],
    speaks: bool,
) -> int:
    """Judge what was watched and tell it.

    Args:
        args: Of the command.
        ending: How the program ended.
        watches: Its trainings; they are closed.
        alarms: Raised on the way.
        speaks: False on all ranks but one, and with `--quiet`.

    Returns:
        The program's exit code, unless it is 0 and `--fail-on` asks for 1.
    """
    from isograd.monitor.journal import place
    from isograd.reporters import run_status

    lang = options.language(args)
    fine = True
    if speaks and not any(watch.steps for watch in watches) and ending.error is None:
        what = "no training was seen: no optimizer of torch took a step in this process"
        if ending.unowned:
            what = "no training was seen: the optimizer's parameters are in no torch module"
        print(run_status.line(what, lang), file=sys.stderr)
    for watch in watches:
        if speaks and watch.steps and sys.stderr.isatty():
            text = run_status.line("judging the run (Ctrl-C skips it)", lang)
            print(text, file=sys.stderr, flush=True)
        try:
            watch.ending = words(ending)
            watch.saw_error(ending.error or ending.left)
            watch.close()
        except KeyboardInterrupt:
            print(run_status.line("the verdict was skipped", lang), file=sys.stderr)
        diagnosis = watch.concluded
        fine = fine and (diagnosis is None or diagnosis.ok)
        if speaks and watch.steps:
            try:
                _report(watch, lang, args.full)
            except Exception as error:  # the exit code is the program's, whatever becomes of ours
                what = run_status.line(
                    "the verdict could not be shown ({error}); see `isograd report`",
                    lang,
                    error=f"{type(error).__name__}: {error}",
                )
                print(what, file=sys.stderr)
        now = watch.facts()
        known = now.broke is None or any(bad.located for bad in now.bad_steps)
        if args.replay and not known and place()[1] == 1:
            program_file.run_again(watch.run, lang, speaks)
    failed = (args.fail_on == "finding" and not fine) or (args.fail_on == "alarm" and alarms)
    return 1 if failed and ending.code == 0 else ending.code


def words(ending: Ending) -> str:
    """How a program ended, if not well."""
    if ending.error is not None:
        return f"stopped by {type(ending.error).__name__}"
    return "" if ending.code == 0 else f"ended with exit code {ending.code}"


def _report(watch: Watch, lang: str, full: bool) -> None:
    """The verdict, on standard error: standard output is the program's."""
    from rich.console import Console

    from isograd.reporters import run_status, terminal

    console = Console(stderr=True, highlight=False)
    diagnosis = watch.concluded
    if diagnosis is not None and full:
        console.print(terminal.render(diagnosis, width=console.width, lang=lang), soft_wrap=True)
    findings = diagnosis.findings if diagnosis is not None and not full else ()
    notes = diagnosis.notes if diagnosis is not None and not full else ()
    for text in run_status.ending(watch.facts(), findings, lang, console.width, notes):
        console.print(text, soft_wrap=True)
