"""Runs for the tests."""

from __future__ import annotations

import random

import numpy as np

from isograd.records import Evidence, Finding, ParameterStats, Snapshot
from isograd.runfile import RunWriter
from isograd.runfile.frames import MAGIC

NAMES = ("first.weight", "first.bias", "last.weight")
STATISTICS = ("norm", "rms")
FINDING = Finding(
    "G101",
    "gradient vanishes",
    "warning",
    "activation-derivative",
    where=("first",),
    evidence=(Evidence("decades", float("-inf")),),
    step=7,
)


def values(step: int, names=NAMES, statistics=STATISTICS, dtype="float32"):
    """[names, statistics], different in each cell and step, with NaN and infinity among them."""
    cells = np.arange(len(names) * len(statistics), dtype=dtype) / 3 + step
    if step % 5 == 3:
        cells[:3] = np.nan, np.inf, -np.inf
    return cells.reshape(len(names), len(statistics)).astype(dtype)


def snapshot(loss=1.0):
    stats = ParameterStats((2, 2), 0.5, 0.25, float("inf"), 0.0, 0, 1.0)
    return Snapshot(loss, (), (), {"first.weight": stats})


def written(directory, steps=20, **options):
    """A closed run with a record of every kind."""
    writer = RunWriter(directory, NAMES, STATISTICS, ("loss", "lr"), **options)
    for step in range(steps):
        writer.step(step, values(step), (1 / (step + 1), 0.1), anomalous=step == 9)
        if step == 7:
            writer.finding(FINDING)
            writer.snapshot(7, snapshot())
            writer.layers(7, ("act",), ("mean",), [[0.5]])
        if step == 9:
            writer.event(9, "spike", "the loss jumped", ratio=float("inf"))
            writer.text("a remark: ∂C/∂b", 9)
    writer.close("G101 gradient vanishes", ok=False)
    return directory


def mutations(data, seed):
    """A damaged copy of a file's bytes."""
    random_ = random.Random(seed)
    out = bytearray(data)
    kind = random_.randrange(5)
    if kind == 0:
        for _ in range(random_.randint(1, 20)):
            out[random_.randrange(len(out))] = random_.randrange(256)
    elif kind == 1:
        del out[random_.randrange(len(out)) :]
    elif kind == 2:
        begin, end = sorted(random_.sample(range(len(out)), 2))
        at = random_.randrange(len(out))
        out[at:at] = out[begin:end]
    elif kind == 3:
        begin, end = sorted(random_.sample(range(len(out)), 2))
        del out[begin:end]
    else:
        out = bytearray(random_.randbytes(random_.randrange(4000)))
        if random_.random() < 0.5:
            out[:0] = MAGIC
    return bytes(out)
