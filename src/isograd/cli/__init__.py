"""Command line.

A verb is a module in this package with `NAME`, `HELP`, `add_arguments(parser)` and
`run(args) -> int`. Verbs import torch inside `run`, so that help is fast.

Exit codes: 0 nothing to report, 1 findings, 2 usage or failure, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from isograd import __version__
from isograd.errors import IsogradError

FAILED = 2
INTERRUPTED = 130
PIPE_CLOSED = 141


class Verb(Protocol):
    """What a module of this package provides to be a verb."""

    NAME: str
    HELP: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name; by default the process's.

    Returns:
        The exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a code page without our bars must not stop us
            cast(Any, stream).reconfigure(errors="replace")
    try:
        args = _parser().parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else FAILED
    command = f"isograd {args.verb.NAME}"
    try:
        code = args.verb.run(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _silence(sys.stdout)
        return PIPE_CLOSED
    except (Exception, SystemExit) as error:
        if isinstance(error.__context__, BrokenPipeError):  # rich makes an exit of it
            return PIPE_CLOSED
        _explain(command, error, args.debug)
        return FAILED


def verbs() -> list[Verb]:
    """All verbs, by name."""
    modules = (
        importlib.import_module(f"{__name__}.{info.name}")
        for info in pkgutil.iter_modules(__path__)
    )
    found = [cast(Verb, module) for module in modules if hasattr(module, "NAME")]
    return sorted(found, key=lambda verb: verb.NAME)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="isograd",
        description="Shows which layer of a PyTorch model does not learn, why, and on which line.",
    )
    parser.add_argument("--version", action="version", version=f"isograd {__version__}")
    parser.add_argument("--debug", action="store_true", help="show tracebacks of isograd's own")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for verb in verbs():
        command = commands.add_parser(verb.NAME, help=verb.HELP, description=verb.HELP)
        command.set_defaults(verb=verb, parser=command)
        # Suppressed, or its default would undo the one before the command.
        command.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )
        verb.add_arguments(command)
    return parser


def _explain(command: str, error: BaseException, debug: bool) -> None:
    if isinstance(error, IsogradError):
        what = error.what
        lines = str(error).removeprefix(what).splitlines()[1:]
    elif isinstance(error, SystemExit):
        what = f"the code under test ended the program with exit code {error.code!r}."
        lines = []
    else:
        what = f"a fault of isograd's own: {type(error).__name__}: {error}"
        lines = [] if debug else ["Rerun with --debug for the traceback."]
    if debug:
        traceback.print_exception(error)
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    first = Text.assemble((f"{command}:", "bold red"), " ", (what, "bold"))
    for line in (first, *map(Text, lines)):
        console.print(line, soft_wrap=True)


def _silence(stream: Any) -> None:
    """Keep Python from writing the rest to a closed pipe at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except (OSError, ValueError):
        pass
