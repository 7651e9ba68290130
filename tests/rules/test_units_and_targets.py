"""Units that are copies, strong dropout, a large eps, and targets that are the inputs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isograd


def alarms(model, step, optimizer, steps=50):
    return [f.code for f in isograd.check(model, step, optimizer, steps).findings if f.alarm]


def classes(model, size=64):
    w = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))

    def step(m):
        x = torch.randn(size, 20)
        return F.cross_entropy(m(x), (x @ w).argmax(1))

    return model, step


def net(dropout=0.0):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(20, 64), nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, 64), nn.ReLU(),
        nn.Dropout(dropout), nn.Linear(64, 4),
    )  # fmt: skip


@pytest.mark.parametrize(("constant", "fires"), [(0.05, True), (None, False)])
def test_units_that_are_copies(constant, fires):
    model, step = classes(net())
    if constant is not None:
        for p in model.parameters():
            nn.init.constant_(p, constant)
    found = alarms(model, step, torch.optim.Adam(model.parameters(), 3e-3))
    assert (found[:1] == ["G113"]) is fires
    assert fires or found == []


@pytest.mark.parametrize(("rate", "fires"), [(0.97, True), (0.3, False)])
def test_strong_dropout(rate, fires):
    model, step = classes(net(rate))
    found = alarms(model, step, torch.optim.Adam(model.parameters(), 3e-3))
    assert ("G310" in found) is fires


@pytest.mark.parametrize(("eps", "fires"), [(10.0, True), (1e-8, False)])
def test_a_large_eps(eps, fires):
    model, step = classes(net())
    found = alarms(model, step, torch.optim.Adam(model.parameters(), 3e-3, eps=eps))
    assert ("G311" in found) is fires


class Tokens(nn.Module):
    def __init__(self, causal=True):
        super().__init__()
        self.causal = causal
        self.embed, self.head = nn.Embedding(11, 16), nn.Linear(16, 11)

    def forward(self, tokens):
        x = self.embed(tokens)
        return self.head(x + F.scaled_dot_product_attention(x, x, x, is_causal=self.causal))


@pytest.mark.parametrize(
    ("causal", "shift", "fires"), [(True, 0, True), (True, 1, False), (False, 0, False)]
)
def test_targets_that_are_the_inputs(causal, shift, fires):
    torch.manual_seed(0)
    tokens = torch.randint(11, (8, 13))

    def step(m):
        logits = m(tokens[:, : 13 - shift])
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, shift:].flatten())

    found = [f.code for f in isograd.check(Tokens(causal), step).findings if f.alarm]
    assert ("G410" in found) is fires
