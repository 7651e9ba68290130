"""A watched loop's first batch is run again on a copy with its factors made neutral."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import isograd


def watched(model, steps=12):
    x, y = torch.randn(128, 32), torch.randint(4, (128,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with isograd.watch(model, optimizer, budget=None) as watch:
        for _ in range(steps):
            chosen = torch.randint(128, (32,))
            optimizer.zero_grad()
            F.cross_entropy(model(x[chosen]), y[chosen]).backward()
            optimizer.step()
    return watch.diagnosis()


def deep(gain):
    torch.manual_seed(0)
    layers = [m for _ in range(8) for m in (nn.Linear(32, 32), nn.Sigmoid())]
    for layer in layers[::2]:
        nn.init.normal_(layer.weight, std=gain / 32**0.5)
    return nn.Sequential(*layers, nn.Linear(32, 4))


def test_two_causes_are_said_of_a_loop_too():
    diagnosis = watched(deep(0.3))
    finding = next(f for f in diagnosis.findings if f.code == "G101")
    assert finding.title.endswith("by both activation derivative and weights")
    rows = {(row.factor, row.held): row for row in diagnosis.snapshot.neutral}
    base = finding.evidence[0].value
    # A batch from a tape of the loop's start, through weights as they were then.
    assert rows["activation", "neutral"].base == pytest.approx(base, abs=0.1)


def test_losses_stay_bit_identical():
    def loop(watch):
        torch.manual_seed(0)
        model = deep(0.3)
        x, y = torch.randn(64, 32), torch.randint(4, (64,))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        seen = isograd.watch(model, optimizer) if watch else None
        losses = []
        for _ in range(8):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if seen is not None:
                seen.diagnosis()
        if seen is not None:
            seen.close()
        return losses, torch.get_rng_state()

    (plain, state), (with_watch, after) = loop(False), loop(True)
    assert plain == with_watch
    assert torch.equal(state, after)
