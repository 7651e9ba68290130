"""Small trainings and fixes that tests make up."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from isograd.fixes import kind
from isograd.fixes.kind import Kind, Proposal
from isograd.fixes.setup import Setup
from isograd.records import Diagnosis, Finding, Snapshot

FINDING = Finding("G301", "rate too low", "warning", "learning-rate", confidence=0.9)
DIAGNOSIS = Diagnosis((FINDING,), (), Snapshot(1.0, (), (), {}))


def setup(rate=1e-5):
    """A net on a noisy plane, with a generator and a counter of its own."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, 1))
    optimizer = torch.optim.SGD(model.parameters(), rate)
    generator, state = torch.Generator().manual_seed(1), {"calls": 0}

    def step(model):
        state["calls"] += 1
        x = torch.randn(32, 4, generator=generator)
        y = x.sum(1, keepdim=True) + 0.1 * torch.randn(32, 1, generator=generator)
        return nn.functional.mse_loss(model(x), y)

    step.state, step.generator = state, generator
    return Setup(model, step, optimizer)


class Rate(Kind):
    """Sets the rate: proven where it was too low."""

    name, part, cures = "rate", "optimizer", frozenset(("G301",))
    to: tuple[float, ...] = (0.1,)

    def proposals(self, case) -> Iterator[Proposal]:
        for rate in self.to:
            yield Proposal(f"rate {rate}", {"rate": rate}, predicted=-0.5)

    def change(self, setup: Setup, parameters) -> Setup:
        for group in setup.optimizer.param_groups:
            group["lr"] = parameters["rate"]
        return setup


class Placebo(Kind):
    """Draws each weight anew as it was drawn, or does nothing."""

    name, cures = "placebo", frozenset(("G301",))

    def proposals(self, case) -> Iterator[Proposal]:
        for n in range(6):
            yield Proposal(f"placebo {n}", {"n": n})

    def change(self, setup: Setup, parameters) -> Setup:
        if parameters["n"]:
            torch.rand(parameters["n"])
            for layer in setup.model:
                if hasattr(layer, "reset_parameters"):
                    layer.reset_parameters()
        return setup


class Raises(Placebo):
    name = "raises"

    def proposals(self, case):
        yield Proposal("raises")

    def change(self, setup, parameters):
        raise RuntimeError("no such layer")


class Greedy(Raises):
    name = "greedy"

    def proposals(self, case):
        yield Proposal("greedy")

    def change(self, setup, parameters):
        raise MemoryError("cannot allocate memory")


class Hangs(Raises):
    name = "hangs"

    def proposals(self, case):
        yield Proposal("hangs")

    def change(self, setup, parameters):
        while True:
            torch.ones(1).sum()


def catalogue(monkeypatch, *classes):
    """Only these fixes."""
    made = {cls.name: cls() for cls in classes}
    monkeypatch.setattr(kind, "kinds", lambda: made)
    monkeypatch.setattr("isograd.fixes.candidates.kinds", lambda: made)
