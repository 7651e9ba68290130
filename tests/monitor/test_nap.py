"""Steps that pass unseen but for their losses: what is gathered, and when a nap ends."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import isograd
from isograd.monitor.nap import MOST, SECONDS, Nap, together
from isograd.monitor.scaling import Scaling
from isograd.runfile import load


def raised(error):
    raise error


def nap(room, high=10.0):
    made = Nap(Scaling([], raised), raised)
    made.begin(0, room, high)
    return made


def optimizer(rate=0.5):
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], rate)


def slept(made, losses, trainer):
    """Whether it is time to look, after each step."""
    out = []
    for loss in losses:
        made.heard(torch.tensor(loss))
        made.look()
        out.append(made.stepped(trainer))
    return out


def test_losses_and_rates_are_those_of_the_steps():
    made, trainer = nap(3), optimizer()
    assert slept(made, [1.0, 0.5, 0.25], trainer) == [False, False, True]
    assert made.taken() == ([1.0, 0.5, 0.25], [0.5] * 3, [])
    assert made.taken() == ([], [], [])  # asked once


@pytest.mark.parametrize("odd", [11.0, math.inf, math.nan])
def test_a_loss_that_startles_ends_it_at_once(odd):
    made = nap(64)
    assert slept(made, [1.0, 2.0, odd], optimizer()) == [False, False, True]


def test_a_step_without_a_backward_pass_has_no_loss():
    made, trainer = nap(2), optimizer()
    made.heard(torch.tensor(1.0))
    made.stepped(trainer)
    made.stepped(trainer)
    assert made.taken()[0] == [1.0, None]


def test_slow_steps_are_looked_at_one_by_one():
    assert together(2 * SECONDS) == 1
    assert together(SECONDS / 10) == 10
    assert together(1e-6) == MOST


def test_every_loss_of_a_watched_training_is_in_its_run_file(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(16, 16) for _ in range(6)], nn.Linear(16, 1))
    trainer = torch.optim.SGD(model.parameters(), 0.01)
    x = torch.randn(64, 16)
    losses = []
    with isograd.watch(model, trainer, run=tmp_path / "run"):
        for _ in range(400):
            trainer.zero_grad()
            loss = (model(x) - x[:, :1]).square().mean()
            loss.backward()
            trainer.step()
            losses.append(float(loss.detach()))
    rows = load(tmp_path / "run").rows
    seen = dict(zip(rows.steps.tolist(), rows.scalars()["loss"].tolist(), strict=True))
    assert sorted(seen) == list(range(400))
    assert [seen[i] for i in range(400)] == pytest.approx(losses, rel=1e-6)
