"""Runs somebody's program and watches every training in it."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import torch
from torch import nn

from isograd.monitor.finder import Finder
from isograd.monitor.watch import Watch

Starts = Callable[[nn.Module, list[torch.optim.Optimizer]], Watch]
_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Ending:
    """How a program ended.

    Attributes:
        code: Its exit code.
        error: What it raised, or None.
        left: The `SystemExit` that it left by, or None.
    """

    code: int
    error: BaseException | None = None
    left: SystemExit | None = None


def launch(program: Sequence[str], module: bool, starts: Starts, watches: list[Watch]) -> Ending:
    """Run a program as `python` would and watch what trains in it.

    Args:
        program: Its file, or its module's name, and its arguments.
        module: True for a module's name, as after `python -m`.
        starts: Makes a watch for a training that begins.
        watches: Filled with them; still open when this returns.

    Returns:
        How it ended. The program's own exceptions are not raised.
    """

    def found(model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> None:
        watch = starts(model, optimizers)
        watches.append(watch)
        watch.open()

    finder = Finder(found)
    finder.open()
    try:
        return run_program(program, module)
    finally:
        finder.close()


def run_program(program: Sequence[str], module: bool) -> Ending:
    """Run a program as `python` would.

    Args:
        program: Its file, or its module's name, and its arguments.
        module: True for a module's name.

    Returns:
        How it ended. Its own exceptions are not raised.
    """
    arguments, path = sys.argv, sys.path[:]
    try:
        return _run(program, module)
    finally:
        sys.argv, sys.path[:] = arguments, path


def _run(program: Sequence[str], module: bool) -> Ending:
    name = program[0]
    sys.argv = list(program)
    try:
        if module:
            sys.path.insert(0, os.getcwd())
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        else:
            sys.path.insert(0, str(Path(name).resolve().parent))
            runpy.run_path(name, run_name="__main__")
    except SystemExit as stop:
        return Ending(_code(stop.code), left=stop)
    except KeyboardInterrupt as error:
        return Ending(_INTERRUPTED, error)
    except BaseException as error:
        return Ending(1, error)
    return Ending(0)


def _code(code: object) -> int:
    """What the shell sees of `sys.exit(code)`."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF if code > 255 or code < 0 else code
    print(code, file=sys.stderr)
    return 1


def own_frames_left_out(error: BaseException) -> TracebackType | None:
    """The traceback of a program's error as it would be without us."""
    trace = error.__traceback__
    here = {__file__, runpy.__file__}
    while trace is not None and (
        trace.tb_frame.f_code.co_filename in here or "runpy" in trace.tb_frame.f_code.co_filename
    ):
        trace = trace.tb_next
    return trace
