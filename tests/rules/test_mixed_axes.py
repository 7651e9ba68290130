"""Views that mix the axis of classes with positions, and those that do not."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isograd
from rules.trained import alarms

B, T, C = 6, 5, 4


def cross(out, y):
    return F.cross_entropy(out, y)


CASES = {
    "a view as (B, C, T)": (lambda o, y: cross(o.reshape(B, C, T), y), True),
    "a view of log-probabilities": (
        lambda o, y: F.nll_loss(o.reshape(B, C, T).log_softmax(1), y),
        True,
    ),
    "a transposition": (lambda o, y: cross(o.transpose(1, 2), y), False),
    "a transposition that is made contiguous": (
        lambda o, y: cross(o.permute(0, 2, 1).contiguous(), y),
        False,
    ),
    "samples and positions joined": (lambda o, y: cross(o.view(-1, C), y.reshape(-1)), False),
    "an axis of size one": (lambda o, y: cross(o.reshape(B * T, C, 1), y.reshape(-1, 1)), False),
}


@pytest.mark.parametrize("name", CASES)
def test_views_of_a_linear_layer(name):
    loss, alarm = CASES[name]
    torch.manual_seed(0)
    x, y = torch.randn(B, T, 8), torch.randint(0, C, (B, T))
    model = nn.Linear(8, C)
    found = alarms(isograd.check(model, lambda m: loss(m(x), y)))
    assert (("G414", "loss-shape") in found) == alarm


@pytest.mark.parametrize("moved", [False, True])
def test_a_map_of_classes_is_flattened(moved):
    torch.manual_seed(0)
    x, y = torch.randn(B, 3, T, T), torch.randint(0, C, (B * T * T,))
    model = nn.Conv2d(3, C, 1)

    def step(m):
        out = m(x).permute(0, 2, 3, 1) if moved else m(x)
        return F.cross_entropy(out.reshape(-1, C), y)

    assert (("G414", "loss-shape") in alarms(isograd.check(model, step))) != moved
