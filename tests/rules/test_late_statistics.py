"""G705: running statistics that evaluation uses before they have arrived."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isograd
from isograd.monitor.running import running_statistics
from rules.trained import adam, alarms, classes


def normed(momentum, mean=10.0):
    x, y = classes()
    norm = nn.BatchNorm1d(8, momentum=momentum)
    model = nn.Sequential(norm, nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
    return model, lambda m: F.cross_entropy(m(mean + 2 * x), y)


@pytest.mark.parametrize(("momentum", "mean", "alarm"), [(1e-4, 10, True), (0.1, 10, False)])
def test_a_momentum_that_never_arrives(momentum, mean, alarm):
    model, step = normed(momentum, mean)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    diagnosis = isograd.check(model, step, adam(model, 0.02), 30)
    assert alarms(diagnosis) == ([("G705", "normalization")] if alarm else [])
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_the_gap_is_that_of_the_means():
    x, _ = classes()
    model, step = normed(0.25)
    model[0].running_mean.fill_(1.0)
    data = 10.0 + 2 * x.double()
    gap = (data.mean(0) - 1.0) / data.std(0, unbiased=False)
    measured = running_statistics(model, step)
    assert measured is not None
    assert measured.gaps["0"] == pytest.approx(float(gap.square().mean().sqrt()), rel=1e-5)
    assert measured.momentum == {"0": 0.25}
    assert float(model[0].num_batches_tracked) == 0


def test_norms_that_are_not_in_training_or_keep_no_average():
    model, step = normed(None)
    assert running_statistics(model, step) is None
    model, step = normed(0.1)
    assert running_statistics(model.eval(), step) is None
