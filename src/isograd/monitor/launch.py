"""Runs somebody's program and watches every training in it."""

from __future__ import annotations

import builtins
import io
import os
import runpy
import sys
import types
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from isograd.monitor.finder import Finder
from isograd.monitor.watch import Watch

Starts = Callable[[nn.Module, list[torch.optim.Optimizer]], Watch]
_INTERRUPTED = 130
_OURS = str(Path(__file__).parents[1]) + os.sep
_RUNPY = {runpy.__file__, "<frozen runpy>"}


@dataclass(frozen=True, slots=True)
class Ending:
    """How a program ended.

    Attributes:
        code: Its exit code.
        error: What it raised, or None.
        unowned: True if an optimizer stepped whose parameters no module holds.
        left: The `SystemExit` that it left by, or None.
    """

    code: int
    error: BaseException | None = None
    unowned: bool = False
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
        return replace(run_program(program, module), unowned=finder.unowned)
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
        elif Path(name).is_dir() or zipfile.is_zipfile(name):
            runpy.run_path(name, run_name="__main__")
        else:
            sys.path.insert(0, str(Path(name).resolve().parent))
            _run_file(os.path.abspath(name))
    except SystemExit as stop:
        return Ending(_code(stop.code), left=stop)
    except KeyboardInterrupt as error:
        return Ending(_INTERRUPTED, error)
    except BaseException as error:
        return Ending(1, error)
    return Ending(0)


def _run_file(path: str) -> None:
    """Run a file as the module `__main__`.

    It stays that module: what a worker process unpickles, or runs at the exit, finds its names.
    """
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=path, __builtins__=builtins, __cached__=None)
    sys.modules["__main__"] = main
    with io.open_code(path) as file:
        code = compile(file.read(), path, "exec")
    exec(code, main.__dict__)


def _code(code: object) -> int:
    """What the shell sees of `sys.exit(code)`."""
    if code is None:
        return 0
    if isinstance(code, int):
        return int(code) & 0xFF
    print(code, file=sys.stderr)
    return 1


def as_without_us(error: BaseException) -> BaseException:
    """Take our frames out of an error's traceback, and out of those it came from.

    Args:
        error: What a program raised.

    Returns:
        The same error.
    """
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = _theirs(one.__traceback__)
        left += [one.__cause__, one.__context__]
    return error


def _theirs(trace: types.TracebackType | None) -> types.TracebackType | None:
    """A traceback without frames of this package and of `runpy`."""
    frames: list[types.TracebackType] = []
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not (file.startswith(_OURS) or file in _RUNPY):
            frames.append(trace)
        trace = trace.tb_next
    out = None
    for frame in reversed(frames):
        out = types.TracebackType(out, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return out
