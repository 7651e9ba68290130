"""Margins whose labels must be -1 and 1."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import isograd
from rules.trained import alarms, classes, net

MARGINS = {
    "relu": lambda o, t: F.relu(1 - t * o).mean(),
    "clamp": lambda o, t: (1 - o * t).clamp(min=0).mean(),
    "squared": lambda o, t: torch.relu(1.0 - o * t).square().mean(),
    "soft": lambda o, t: F.soft_margin_loss(o, t),
    "embedding": lambda o, t: F.hinge_embedding_loss(o, t),
}


@pytest.mark.parametrize("name", MARGINS)
@pytest.mark.parametrize("signed", [False, True])
def test_labels_of_zero_and_one_in_a_margin(name, signed):
    x, y = classes()
    labels = (y > 0).float()
    t = 2 * labels - 1 if signed else labels
    torch.manual_seed(0)
    found = alarms(isograd.check(net(1), lambda m: MARGINS[name](m(x)[:, 0], t)))
    assert (("G406", "labels") in found) != signed


def test_a_mask_outside_of_the_margin_is_no_label():
    x, y = classes()
    mask = (y > 0).float()
    torch.manual_seed(0)

    def contrastive(m):
        distance = m(x)[:, 0].square()
        return ((1 - mask) * distance + mask * F.relu(1 - distance)).mean()

    assert not alarms(isograd.check(net(1), contrastive))
