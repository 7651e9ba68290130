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


# --- Trainings for the pages

LAYER_STATISTICS = ("mean", "rms", "absmax", "zero_fraction", "saturated_fraction", "nonfinite")
STEP_STATISTICS = ("grad_norm", "weight_norm", "update_norm")
STEP_SCALARS = (
    "loss",
    "lr",
    "grad_norm",
    "stepped_norm",
    "clip_ratio",
    "scale",
    "skipped",
    "nonfinite",
    "cost",
)


def layer_names(layers):
    """Weights and biases, as a deep net has them."""
    return [f"blocks.{i // 2}.fc.{('weight', 'bias')[i % 2]}" for i in range(layers)]


def training(
    directory, layers=100, steps=2000, seed=0, spike=None, bad=None, close=True, names=None
):
    """A synthetic training with what a watched one writes, except snapshots.

    The gradient falls from the last layer to the first, and over the steps; at `spike` all norms
    jump for some steps; at `bad` the gradients of the earliest quarter are NaN.
    """
    rng = np.random.default_rng(seed)
    names = list(names or layer_names(layers))
    layers = len(names)
    depth = np.linspace(-3, 0, layers)
    writer = RunWriter(directory, names, STEP_STATISTICS, STEP_SCALARS, meta={"note": "synthetic"})
    weight = np.exp(rng.normal(1, 0.2, layers))
    noise = rng.standard_normal((4096, layers)) * 0.15
    every = max(1, steps // 40)
    for step in range(steps):
        here = step / max(steps, 1)
        grad = 10 ** (depth * (1 - 0.5 * here) - here + noise[step % 4096])
        if spike is not None and 0 <= step - spike < 4:
            grad *= 60
        wrong = bad is not None and step == bad
        if wrong:
            grad[: layers // 4] = np.nan
        rows = np.full((layers, 3), np.nan, np.float32)
        rows[:, 0] = grad
        if step % 10 == 0:
            rows[:, 1], rows[:, 2] = weight, 1e-3 * grad
        total = float(np.sqrt(np.nansum(grad**2)))
        jump = 2.0 if spike is not None and 0 <= step - spike < 4 else 1.0
        loss = jump * (2.3 * np.exp(-3 * here) + 0.05 * abs(noise[step % 4096, 0]))
        scalars = (
            loss,
            0.1 * (1 - here),
            total,
            min(total, 1.0),
            min(1 / total, 1.0),
            65536.0,
            float(bad is not None and step > bad),
            float(wrong),
            0.008,
        )
        writer.step(step, rows, scalars, anomalous=step == spike or wrong)
        if step == spike:
            writer.event(
                step,
                "spike",
                f"the loss jumped to {loss:.3g}",
                severity="warning",
                parameter=names[-1],
            )
        if wrong:
            writer.event(
                step,
                "nonfinite",
                "the gradient is not finite",
                severity="error",
                parameter=names[0],
            )
        if step % every == 0:
            modules = sorted({name.rpartition(".")[0] for name in names})
            cells = np.abs(rng.standard_normal((len(modules), len(LAYER_STATISTICS))))
            cells[:, 0] -= 0.5
            cells[:, 3:5] %= 1
            cells[:, 5] = 0
            writer.layers(step, modules, LAYER_STATISTICS, cells)
    if close:
        writer.close(
            "G702 the loss jumped" if spike is not None else "healthy: no gradient fault found",
            ok=spike is None,
        )
    return writer if not close else directory
