"""Calls in processes of their own, each from the same state, each with a time limit.

A forked process starts with everything as it is here: the model, the step with its generators and
counters, the global generators. What it does to them ends with it. Where forking is not
possible (a GPU in use, another platform), calls run one after the other in this process and state
is put back after each.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Literal

import torch
from torch import nn

from isograd.fixes.rewind import Rewind

Backend = Literal["process", "serial"]
BACKENDS: tuple[Backend, ...] = ("process", "serial")
Call = Callable[[], Any]
_MEMORY = "out of memory"
NO_TIME = "no time was left"


@dataclass(frozen=True)
class Outcome:
    """What a call came to.

    Attributes:
        index: Position among the calls.
        value: What it returned, if `reason` is empty.
        reason: Why there is no value.
    """

    index: int
    value: Any = None
    reason: str = ""

    @property
    def late(self) -> bool:
        """True if the time for all calls was up before this one had a value."""
        return self.reason == NO_TIME


class OutOfTimeError(Exception):
    """A call took longer than its limit."""


def best_backend(model: nn.Module) -> Backend:
    """`process` where a fork is safe: on the CPU, on Linux, and no device was used yet."""
    on_cpu = all(p.device.type == "cpu" for p in model.parameters())
    device = torch.cuda.is_initialized() or torch.xpu.is_initialized()
    return "process" if on_cpu and not device and sys.platform == "linux" else "serial"


def outcomes(
    calls: Sequence[Call],
    *,
    jobs: int,
    backend: Backend,
    limit: float,
    deadline: float,
    rewind: Rewind,
    begin: float = float("inf"),
) -> Iterator[Outcome]:
    """Outcomes of calls as they come in.

    Args:
        calls: Functions of no argument; with `process` they return what can be pickled.
        jobs: Processes at a time.
        backend: `process` or `serial`.
        limit: Seconds for each call.
        deadline: `time.monotonic()` after which nothing is begun and what runs is ended.
        rewind: Puts state back after a call in this process.
        begin: `time.monotonic()` after which nothing is begun; what runs may end.
    """
    begin = min(begin, deadline)
    if backend == "serial":
        yield from _serial(calls, limit, deadline, rewind, begin)
    else:
        yield from _forked(calls, max(1, jobs), limit, deadline, begin)


def _serial(
    calls: Sequence[Call], limit: float, deadline: float, rewind: Rewind, begin: float
) -> Iterator[Outcome]:
    for index, call in enumerate(calls):
        left = min(limit, deadline - time.monotonic())
        if left <= 0 or time.monotonic() >= begin:
            yield Outcome(index, reason=NO_TIME)
            continue
        try:
            with _alarm(left):
                outcome = Outcome(index, call())
        except Exception as error:
            outcome = Outcome(index, reason=_why(error, limit, deadline))
        finally:
            rewind.restore()
        yield outcome


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise in the main thread when the time is up; elsewhere there is no limit."""
    usable = hasattr(signal, "setitimer") and (
        threading.current_thread() is threading.main_thread()
    )
    if not usable:
        yield
        return

    def ring(*_: Any) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _forked(
    calls: Sequence[Call], jobs: int, limit: float, deadline: float, begin: float
) -> Iterator[Outcome]:
    context = multiprocessing.get_context("fork")
    waiting = list(enumerate(calls))[::-1]
    running: dict[Connection, tuple[int, Any, float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs and time.monotonic() < begin:
                index, call = waiting.pop()
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_child, args=(call, theirs), daemon=True)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of forking beside threads
                    process.start()
                theirs.close()
                running[ours] = index, process, time.monotonic() + limit
            if not running:
                for index, _ in waiting[::-1]:
                    yield Outcome(index, reason=NO_TIME)
                return
            until = min(deadline, *(end for _, _, end in running.values()))
            ready = wait(list(running), timeout=max(0.0, until - time.monotonic()))
            for connection in list(running):
                index, process, end = running[connection]
                if connection in ready:
                    outcome = _received(index, connection)
                elif time.monotonic() >= min(end, deadline):
                    outcome = Outcome(index, reason=_late(limit, deadline))
                else:
                    continue
                del running[connection]
                _ended(process, connection)
                yield outcome
    finally:
        for connection, (_, process, _) in running.items():
            _ended(process, connection)


def _child(call: Call, connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    torch.set_num_threads(1)  # a pool of threads does not survive the fork
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    warnings.simplefilter("ignore")
    try:
        message = ("value", call())
    except BaseException as error:
        message = ("reason", _why(error, 0.0, float("inf")))
    try:
        connection.send(message)
    except Exception as error:
        connection.send(("reason", f"the result cannot be sent: {error}"))
    connection.close()


def _received(index: int, connection: Connection) -> Outcome:
    try:
        kind, content = connection.recv()
    except (EOFError, OSError):
        return Outcome(index, reason=f"the process died: {_MEMORY}, or a fault in compiled code")
    return Outcome(index, content) if kind == "value" else Outcome(index, reason=content)


def _ended(process: Any, connection: Connection) -> None:
    connection.close()
    if process.is_alive():
        process.join(0.2)
    if process.is_alive():
        process.kill()
    process.join()


def _late(limit: float, deadline: float) -> str:
    whole = time.monotonic() >= deadline
    return NO_TIME if whole else f"took longer than {limit:.3g} s"


def _why(error: BaseException, limit: float, deadline: float) -> str:
    if isinstance(error, OutOfTimeError):
        return _late(limit, deadline)
    text = (str(error) or type(error).__name__).splitlines()[0]
    if isinstance(error, MemoryError) or "out of memory" in text or "allocate memory" in text:
        return f"{_MEMORY}: {text}"
    return f"{type(error).__name__}: {text}"
