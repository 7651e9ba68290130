"""Loops that note themselves, in float64, what a watch must have seen."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

import isograd


@dataclass
class Truth:
    """Numbers of the steps that were taken, as the loop itself sees them."""

    model: nn.Module
    rows: list[dict] = field(default_factory=list)

    def raw(self, loss, scale=1.0, only=None):
        """After the last backward pass, before clipping."""
        named = dict(self.model.named_parameters())
        self._row = {
            "loss": float(loss.detach()),
            "raw": {n: norm(p.grad) / scale for n, p in named.items() if counts(n, p, only)},
            "before": {n: p.detach().double().clone() for n, p in named.items()},
        }

    def more(self, only):
        """A second optimizer's part of the same step."""
        kept = self._row
        self.raw(torch.tensor(0.0), only=only)
        self._row = {**kept, "raw": {**kept["raw"], **self._row["raw"]}}
        self._row["before"] = {
            n: b if not n.startswith(only) else self._row["before"].get(n, b)
            for n, b in {**dict(self.named()), **kept["before"]}.items()
        }

    def named(self):
        return ((n, p.detach().double().clone()) for n, p in self.model.named_parameters())

    def stepped(self, scale=1.0):
        """What the optimizer is about to see."""
        named = self.model.named_parameters()
        self._row["stepped"] = {n: norm(p.grad) / scale for n, p in named if p.grad is not None}

    def done(self):
        """The step was taken."""
        before = self._row.pop("before")
        self._row["update"] = {
            n: (p.detach().double() - before[n]).norm().item()
            for n, p in self.model.named_parameters()
            if n in self._row["raw"]
        }
        self._row["weight"] = {n: before[n].norm().item() for n in self._row["raw"]}
        self.rows.append(self._row)


def counts(name, parameter, only):
    return parameter.grad is not None and (only is None or name.startswith(only))


def norm(gradient):
    gradient = gradient.detach()
    if gradient.layout is not torch.strided:
        gradient = gradient.coalesce().values()
    return gradient.double().norm().item()


def total(norms):
    return math.sqrt(sum(value**2 for value in norms.values()))


def agrees(truth, directory, rel=1e-5):
    """Hold a run against the truth; single precision sums a few thousand squares."""
    run = isograd.load(directory)
    assert len(run.steps) == len(truth.rows)
    assert list(run.steps) == list(range(len(truth.rows)))
    scalars = run.scalars
    for at, row in enumerate(truth.rows):
        close(scalars["loss"][at], row["loss"], rel)
        close(scalars["grad_norm"][at], total(row["raw"]), rel)
        if "stepped" in row:
            close(scalars["stepped_norm"][at], total(row["stepped"]), rel)
            close(scalars["clip_ratio"][at], total(row["stepped"]) / total(row["raw"]), rel)
        for statistic, key in (("grad_norm", "raw"), ("update_norm", "update")):
            for name, value in row[key].items():
                close(run.series(name, statistic)[at], value, 10 * rel, (at, name, statistic))
        for name in run.parameters:
            seen = run.series(name, "grad_norm")[at]
            assert name in row["raw"] or np.isnan(seen) or seen == 0, (at, name)
    return run


def close(seen, true, rel, what=""):
    assert math.isclose(seen, true, rel_tol=rel, abs_tol=1e-30), (what, seen, true)
