"""A live server in the test's own process, and a training that it follows."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import numpy as np

import run_samples as samples
from isograd.cli import live
from isograd.reporters.live import Hub, LiveServer
from isograd.runfile import RunWriter

NAMES = ("blocks.0.weight", "blocks.1.weight", "head.weight")
STATISTICS = samples.STEP_STATISTICS
SCALARS = ("loss", "lr", "nonfinite")


def value(step, name=0):
    return np.float32(1 + step % 17 + name / 8)


def writer(directory, names=NAMES):
    return RunWriter(directory, names, STATISTICS, SCALARS)


def write(out, steps, names=NAMES):
    for step in steps:
        rows = [[value(step, i), 2.0, 0.5] for i in range(len(names))]
        out.step(step, rows, (1 / (step + 1), 0.1, 0.0))


@contextmanager
def serving(directory, port=0, token="secret"):
    """A server in this process, as `isograd live` runs it."""
    hub = Hub("a", str(directory), 0, lambda: live._loaded(directory, 0))
    server = LiveServer(hub, port, token)
    stop = threading.Event()
    threads = [
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}),
        threading.Thread(
            target=live.feed, args=(hub, directory), kwargs={"going": lambda: not stop.is_set()}
        ),
    ]
    for thread in threads:
        thread.start()
    try:
        yield server
    finally:
        stop.set()
        hub.close()
        server.shutdown()
        server.server_close()
        for thread in threads:
            thread.join(10)
        assert not any(thread.is_alive() for thread in threads)
