"""Calls in processes: values, faults, time limits, interruption."""

import multiprocessing
import os
import time

import pytest
import torch

from isograd.fixes.rewind import Rewind
from isograd.fixes.workers import NO_TIME, outcomes

BACKENDS = ["serial"] + ["process"] * (os.name == "posix")


def run(calls, backend, *, limit=20.0, whole=60.0, jobs=2):
    deadline = time.monotonic() + whole
    got = outcomes(
        calls, jobs=jobs, backend=backend, limit=limit, deadline=deadline, rewind=Rewind()
    )
    return {outcome.index: outcome for outcome in got}


def failing():
    raise ValueError("no such layer\nsecond line")


def greedy():
    raise MemoryError("out of memory: 4 GiB")


def hanging():
    while True:
        time.sleep(0.01)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_call_has_an_outcome_and_a_fault_is_its_own(backend):
    got = run([lambda: 1, failing, greedy, lambda: "last"], backend)
    assert [got[i].value for i in range(4)] == [1, None, None, "last"]
    assert got[1].reason == "ValueError: no such layer"
    assert got[2].reason.startswith("out of memory")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_call_that_hangs_is_ended_and_the_next_runs(backend):
    got = run([hanging, lambda: 2], backend, limit=0.3, jobs=1)
    assert got[0].reason == "took longer than 0.3 s"
    assert not got[0].late
    assert got[1].value == 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_when_the_whole_time_is_up_the_rest_says_so(backend):
    got = run([hanging, lambda: 2], backend, whole=0.3, jobs=1)
    assert [got[i].reason for i in range(2)] == [NO_TIME, NO_TIME]
    assert got[1].late


@pytest.mark.skipif("process" not in BACKENDS, reason="no fork on this platform")
def test_a_process_that_dies_is_an_outcome():
    got = run([lambda: os._exit(9), lambda: 2], "process")
    assert "died" in got[0].reason
    assert got[1].value == 2


@pytest.mark.skipif("process" not in BACKENDS, reason="no fork on this platform")
def test_what_cannot_be_sent_is_an_outcome():
    assert "cannot be sent" in run([lambda: lambda: 1], "process")[0].reason


@pytest.mark.skipif("process" not in BACKENDS, reason="no fork on this platform")
def test_no_process_is_left_when_the_caller_stops():
    calls = [lambda: 1, hanging, hanging]
    deadline = time.monotonic() + 60
    stream = outcomes(
        calls, jobs=3, backend="process", limit=60, deadline=deadline, rewind=Rewind()
    )
    assert next(stream).value == 1
    assert multiprocessing.active_children()
    stream.close()  # as an interruption does
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("backend", BACKENDS)
def test_calls_start_from_the_same_state(backend):
    torch.manual_seed(5)
    expected = torch.rand(1).item()
    torch.manual_seed(5)
    got = run([lambda: torch.rand(1).item()] * 3, backend)
    assert [got[i].value for i in range(3)] == [expected] * 3
    assert torch.rand(1).item() == expected
