"""Rules on a loop of the user's own: its rate, its sign, and a second optimizer in it."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isograd
from isograd.monitor.changes import at_rate
from isograd.rules import g303_rate
from rules.trained import alarms, classes, classified, explained, net, sgd


def looped(rate=None, sign=1.0):
    """A loop that sets the rate of each step itself."""

    def train_step(model, optimizer):
        for group in optimizer.param_groups:
            group["lr"] = rate or group["lr"]
        optimizer.zero_grad()
        loss = step(model)
        (sign * loss).backward()
        optimizer.step()
        return loss.detach()

    model, step, optimizer = classified(net)
    return isograd.check(model, step, optimizer, steps=50, train_step=train_step)


def test_a_rate_that_the_loop_sets_each_time_is_replayed_all_the_same():
    assert alarms(looped(1e-7))[0] == ("G303", "learning-rate")
    assert alarms(looped(0.3)) == []


def test_a_rate_of_zero_at_each_step():
    def loop(model, optimizer):
        optimizer.param_groups[0]["lr"] = 0.0
        optimizer.zero_grad()
        step(model).backward()
        optimizer.step()

    model, step, optimizer = classified(net)
    found = alarms(isograd.check(model, step, optimizer, steps=20, train_step=loop))
    assert found[0] == ("G302", "learning-rate")


def test_a_replayed_rate_is_that_of_the_step_and_of_nothing_else():
    """SGD at twice the rate moves twice as far; the group's rate is the user's again after it."""
    torch.manual_seed(0)
    model = nn.Linear(4, 1).double()
    twin = copy.deepcopy(model)
    first, second = sgd(model, 0.1), sgd(twin, 0.05)
    x = torch.randn(8, 4, dtype=torch.float64)
    with at_rate(2.0)(twin, second):
        for net_, optimizer in ((model, first), (twin, second)):
            net_(x).square().mean().backward()
            optimizer.step()
    assert second.param_groups[0]["lr"] == 0.05
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)
    assert not second._optimizer_step_pre_hooks


def test_a_rate_too_low_to_learn_in_four_times_the_steps(monkeypatch):
    """Updates of 1e-5 to 1e-4 of the weights: far from still, and nothing is learnt."""
    found = alarms(isograd.check(*classified(net, lambda m: sgd(m, 3e-4)), steps=50))
    assert found[0] == ("G303", "learning-rate")
    monkeypatch.setattr(g303_rate, "SLOW", g303_rate.TINY)
    found = alarms(isograd.check(*classified(net, lambda m: sgd(m, 3e-4)), steps=50))
    assert ("G303", "learning-rate") not in found


def test_a_loop_that_goes_backward_from_minus_the_loss():
    assert alarms(looped(0.1, sign=-1.0))[0] == ("G405", "loss-head")


def test_a_loop_with_a_loss_of_another_size_is_not_turned():
    assert alarms(looped(0.1, sign=0.5)) == []


@pytest.mark.parametrize("game", [True, False])
def test_what_an_optimizer_does_not_hold_may_be_an_opponents(game):
    torch.manual_seed(0)

    class Game(nn.Module):
        def __init__(self):
            super().__init__()
            self.maker, self.judge = (
                nn.Linear(4, 2),
                nn.Sequential(nn.Linear(2, 8), nn.Linear(8, 1)),
            )

    model = Game()
    ours, theirs = sgd(model.maker, 1e-4), sgd(model.judge, 1e-4)

    def step(m):
        return F.softplus(-m.judge(m.maker(torch.randn(32, 4)))).mean()

    def train_step(m, optimizer):
        optimizer.zero_grad()
        loss = step(m)
        loss.backward()
        optimizer.step()
        if game:
            theirs.step()
        return loss.detach()

    diagnosis = isograd.check(model, step, ours, steps=30, train_step=train_step)
    assert ("G302" in {code for code, _ in alarms(diagnosis)}) == (not game)
    assert ("G302" in explained(diagnosis)) == game


def test_a_loss_that_starts_high_and_is_soon_below_a_guess_is_explained():
    x, y = classes()

    def training(rate):
        torch.manual_seed(0)
        model = net()
        nn.init.normal_(model[2].weight, std=10.0)
        return isograd.check(model, lambda m: F.cross_entropy(m(x), y), sgd(model, rate), steps=50)

    assert "G409" in explained(training(0.3))
    assert ("G409", "loss-head") in alarms(training(1e-6))


def test_parts_that_are_trained_in_turn_are_not_frozen():
    """One part rests at the end of the training, as it did before."""
    x, y = classes()
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
    count = [0]

    def train_step(m, trainer):
        count[0] += 1
        first = count[0] // 5 % 2 == 0
        m[0].requires_grad_(first)
        m[2].requires_grad_(not first)
        trainer.zero_grad()
        loss = F.cross_entropy(m(x), y)
        loss.backward()
        trainer.step()
        return loss

    slow = torch.optim.SGD(model.parameters(), 0.002)
    step = lambda m: F.cross_entropy(m(x), y)  # noqa: E731
    diagnosis = isograd.check(model, step, slow, 50, train_step=train_step)
    assert diagnosis.training.frozen
    assert "G502" not in {f.code for f in diagnosis.findings}


def test_backward_passes_of_another_model_add_nothing_to_what_lies_in_grad():
    """Reptile: a clone is trained inside, and `.grad` is written by hand."""
    model = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
    x = torch.linspace(-1, 1, 32)[:, None]

    def train_step(m, trainer):
        clone = copy.deepcopy(m)
        inner = torch.optim.SGD(clone.parameters(), 0.05)
        for _ in range(3):
            inner.zero_grad()
            loss = F.mse_loss(clone(x), x.sin())
            loss.backward()
            inner.step()
        trainer.zero_grad()
        for ours, theirs in zip(m.parameters(), clone.parameters(), strict=True):
            ours.grad = (ours - theirs).detach()
        trainer.step()
        return loss

    step = lambda m: F.mse_loss(m(x), x.sin())  # noqa: E731
    outer = torch.optim.SGD(model.parameters(), 0.5)
    diagnosis = isograd.check(model, step, outer, 30, train_step=train_step)
    assert max(diagnosis.training.stale, default=0.0) == 0.0
    assert "G305" not in {f.code for f in diagnosis.findings}


def test_a_density_has_no_targets():
    """A flow subtracts inside of the model: its inputs are all there is to roll."""

    class Flow(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 2))

        def forward(self, x):
            shift, scale = self.net(x[:, :1]).unbind(1)
            z = (x[:, 1] - shift) * torch.exp(-scale)
            return -0.5 * z.square() - scale

    generator = torch.Generator().manual_seed(0)

    def step(m):
        a = torch.randn(64, 1, generator=generator)
        b = a**2 + 0.1 * torch.randn(64, 1, generator=generator)
        return -m(torch.cat([a, b], 1)).mean()

    model = Flow()
    diagnosis = isograd.check(model, step, torch.optim.Adam(model.parameters(), 1e-2), 50)
    assert alarms(diagnosis) == []
