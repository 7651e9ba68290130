"""G108 in nets without targets: all outputs run to one point and take the loss along."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import isograd
from rules.trained import adam, alarms


@pytest.mark.parametrize("apart", [0.0, 1.0])
def test_a_loss_of_matching_pairs_only(apart):
    """All are pulled together; with `apart`, outputs are held at unit deviation."""
    torch.manual_seed(0)
    x = torch.randn(128, 8)
    near = x + 0.3 * torch.randn(128, 8)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 8))

    def step(m):
        e = m(torch.cat([x, near]))
        distance = torch.cdist(e, e + 1e-4)
        pull = distance.square().mean()
        return pull + apart * (1 - e.std(0)).relu().mean()

    found = alarms(isograd.check(model, step, adam(model, 0.02), 60))
    assert (("G108", "rank-collapse") in found) == (apart == 0)
