"""Rules on how a training moves: G303 in a watch, G306, G308, G309, and G701 to G703."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isograd
from isograd.monitor import rerun
from isograd.records.training import ParameterTrack, Replay, Training
from isograd.rules import g303_rate, g306_momentum, g702_spike, g703_undone
from isograd.rules.case import Case
from rules.trained import alarms, checked, classes, classified, net, sgd, watched


def plane(rate, **options):
    """Least squares: curvature 2 at most a few, so that the limit of stability is known."""
    torch.manual_seed(0)
    x = torch.randn(96, 8)
    y = x @ torch.randn(8, 1)
    model = nn.Linear(8, 1)
    return model, lambda m: F.mse_loss(m(x), y), sgd(model, rate, **options)


@pytest.mark.parametrize("rate", [0.7, 0.9])
def test_a_rate_above_the_limit_of_stability_in_a_loop_of_ones_own(rate, monkeypatch):
    monkeypatch.setattr(rerun, "LARGEST", 0)  # or replays of the start would say it
    assert ("G303", "learning-rate") in watched(plane(rate))
    monkeypatch.setattr(g303_rate, "LIMIT", 10.0)
    assert "G303" not in dict(watched(plane(rate)))


@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_a_rate_below_the_limit_of_stability(rate):
    assert watched(plane(rate)) == []


def test_a_net_at_the_edge_of_stability_that_learns_is_quiet():
    assert watched(classified(net, lambda m: sgd(m, 3.0))) == []


def test_a_long_momentum_that_swings(monkeypatch):
    assert checked(plane(0.02, momentum=0.995))[0] == ("G306", "learning-rate")
    monkeypatch.setattr(g306_momentum, "LONG", 0.999)
    assert "G306" not in dict(checked(plane(0.02, momentum=0.995)))


@pytest.mark.parametrize(("momentum", "rate"), [(0.9, 0.02), (0.99, 0.001)])
def test_a_momentum_that_does_not_swing(momentum, rate):
    trained = classified(net, lambda m: sgd(m, rate, momentum=momentum))
    assert checked(trained) == []


def normed(gain_rate):
    def optimizer(model):
        gain = [p for name, p in model.named_parameters() if name == "1.weight"]
        rest = [p for name, p in model.named_parameters() if name != "1.weight"]
        return torch.optim.Adam([{"params": rest}, {"params": gain, "lr": gain_rate}], lr=1e-4)

    def build():
        return nn.Sequential(nn.Linear(8, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 3))

    return isograd.check(*classified(build, optimizer), steps=40)


def test_the_gain_of_a_norm_that_grows_many_times():
    diagnosis = normed(1.0)
    assert alarms(diagnosis)[0] == ("G308", "normalization")
    assert diagnosis.findings[0].where == ("1.weight",)
    assert "G308" not in dict(alarms(normed(0.01)))


def penalised(factor, rate):
    model, step, optimizer = classified(net, lambda m: sgd(m, rate))

    def whole(m):
        return step(m) + factor * (m[0].weight.square().sum() + m[2].weight.square().sum())

    return model, whole, optimizer


def test_a_penalty_of_the_wrong_sign_rewards_growth():
    assert checked(penalised(-1.0, 0.1)) == [("G308", "regularization")]
    assert checked(penalised(1e-3, 0.3)) == []


def decayed(decay, rate, kind):
    def optimizer(model):
        trainer = kind(model.parameters(), lr=rate)
        trainer.param_groups[0]["weight_decay"] = decay
        return trainer

    return classified(net, optimizer)


ADAMW, SGD = torch.optim.AdamW, torch.optim.SGD


@pytest.mark.parametrize(
    ("decay", "rate", "kind", "alarm"),
    [
        (30.0, 0.01, ADAMW, True),
        (2.0, 0.1, SGD, True),
        (-0.1, 0.01, ADAMW, True),
        (0.1, 0.01, ADAMW, False),
        (5e-4, 0.3, SGD, False),
    ],
)
def test_weight_decay_that_takes_more_than_the_data_give(decay, rate, kind, alarm):
    found = checked(decayed(decay, rate, kind))
    assert found[:1] == ([("G309", "weight-decay")] if alarm else [])


def sampled(rate, batch, noise=1.0, change=lambda number, x, y: (x, y)):
    """Regression on batches that are drawn at each step; `change` may alter one."""
    torch.manual_seed(0)
    x = torch.randn(512, 8)
    y = 0.3 * x.sum(1, keepdim=True) + noise * torch.randn(512, 1)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    drawn = [0]

    def step(m):
        chosen = torch.randint(512, (batch,))
        drawn[0] += 1
        inputs, targets = change(drawn[0], x[chosen], y[chosen])
        return F.mse_loss(m(inputs), targets)

    return model, step, sgd(model, rate)


def test_single_samples_at_a_large_rate():
    assert checked(sampled(0.2, 1))[0] == ("G701", "noise")
    assert watched(sampled(0.2, 1), 50)[0] == ("G701", "noise")


@pytest.mark.parametrize(("rate", "batch", "noise"), [(0.03, 1, 0.1), (0.1, 64, 0.1)])
def test_samples_at_a_rate_that_suits_them(rate, batch, noise):
    assert checked(sampled(rate, batch, noise)) == []
    assert watched(sampled(rate, batch, noise), 50) == []


SPIKES = {
    "inputs": lambda k, x, y: (x * (50.0 if k == 25 else 1.0), y * (50.0 if k == 25 else 1.0)),
    "targets": lambda k, x, y: (x, y * (50.0 if k == 25 else 1.0)),
}
STEADY = {
    "nothing": lambda k, x, y: (x, y),
    "size varies from the start": lambda k, x, y: (x * (0.2 + 2.8 * ((7 * k) % 11) / 10), y),
    "a batch that is a little larger": lambda k, x, y: (x, y * (1.5 if k == 25 else 1.0)),
}


@pytest.mark.parametrize("name", SPIKES)
def test_a_batch_in_other_units_is_named_with_its_step(name, monkeypatch):
    def diagnosis():
        return isograd.check(*sampled(0.1, 32, 0.1, SPIKES[name]), steps=40)

    first = diagnosis().findings[0]
    assert (first.code, first.cause) == ("G702", "data")
    assert name in first.title
    assert 20 <= first.step <= 25
    monkeypatch.setattr(g702_spike, "MOVED", 1e3)
    assert "G702" not in dict(alarms(diagnosis()))


@pytest.mark.parametrize("name", STEADY)
def test_batches_that_vary_as_they_always_did(name):
    assert "G702" not in dict(checked(sampled(0.05, 32, 0.1, STEADY[name]), 40))


def scheduled(factor, rate):
    """A loop that sets the rate of step k to `factor(k)` times `rate`."""
    x, y = classes()
    model = net()
    optimizer = sgd(model, rate)
    taken = [0]

    def train_step(m, trainer):
        trainer.param_groups[0]["lr"] = rate * factor(taken[0] % 50)
        taken[0] += 1
        trainer.zero_grad()
        loss = F.cross_entropy(m(x), y)
        loss.backward()
        trainer.step()
        return loss

    return isograd.check(
        model, lambda m: F.cross_entropy(m(x), y), optimizer, 50, train_step=train_step
    )


def test_a_rate_that_jumps():
    first = scheduled(lambda k: 1.0 if k < 30 else 1000.0, 0.3).findings[0]
    assert (first.code, first.cause) == ("G702", "learning-rate")


SCHEDULES = {
    "halved at each step": (lambda k: 0.5**k, 0.05, True),
    "grown by a fifth at each step": (lambda k: 1.2**k, 0.1, True),
    "cosine": (lambda k: 0.5 * (1 + math.cos(math.pi * k / 50)), 0.3, False),
    "warm-up": (lambda k: min(1.0, (k + 1) / 20), 0.3, False),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_that_undo_or_stop_a_training(name):
    factor, rate, alarm = SCHEDULES[name]
    found = alarms(scheduled(factor, rate))
    assert found[:1] == ([("G703", "learning-rate")] if alarm else [])


@pytest.mark.parametrize(
    ("make", "alarm"),
    [
        (lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.5), True),
        (lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 50), False),
        (lambda o: torch.optim.lr_scheduler.LinearLR(o, 0.01, 1.0, 20), False),
    ],
    ids=["halved", "cosine", "warm-up"],
)
def test_schedulers_in_a_loop_of_ones_own(make, alarm):
    trained = classified(net, lambda m: sgd(m, 0.1 if alarm else 0.3))
    found = watched(trained, 50, make(trained[2]))
    assert found == ([("G703", "learning-rate")] if alarm else [])


@pytest.mark.parametrize(("factor", "alarm"), [(1.05, True), (1.0, False), (0.999, False)])
def test_writes_to_the_weights_between_the_steps(factor, alarm, monkeypatch):
    x, y = classes()
    model = net()

    def train_step(m, trainer):
        trainer.zero_grad()
        loss = F.cross_entropy(m(x), y)
        loss.backward()
        trainer.step()
        for p in m.parameters():
            p.data.mul_(factor)
        return loss

    def found():
        loss = lambda m: F.cross_entropy(m(x), y)  # noqa: E731
        return alarms(isograd.check(model, loss, sgd(model, 0.1), 50, train_step=train_step))

    assert found()[:1] == ([("G703", "weight-decay")] if alarm else [])
    monkeypatch.setattr(g703_undone, "OUTSIDE", 1e6)
    assert "G703" not in dict(found())


def test_steps_that_were_not_recorded_are_no_writes_between():
    """A watch records few steps whole; what the optimizer did between them is not known."""
    weight = tuple(2.0**k for k in range(8))
    track = ParameterTrack((1.0,) * 8, (0.1,) * 8, weight)
    every, some = ((1.0,) * steps for steps in (8, 80))
    assert g703_undone._outside(Training(every, (), {"w": track})) > 50
    assert g703_undone._outside(Training(some, (), {"w": track})) == 1.0


@pytest.mark.parametrize("kept_apart", [False, True])
def test_two_views_that_are_drawn_together_become_one_point(kept_apart):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 8))
    x = torch.randn(64, 8)

    def step(m):
        a, b = m(x + 0.2 * torch.randn(64, 8)), m(x + 0.2 * torch.randn(64, 8))
        loss = (a - b).square().mean()
        return loss + F.relu(1 - a.std(0)).mean() if kept_apart else loss

    found = checked((model, step, torch.optim.Adam(model.parameters(), 1e-2)))
    assert (found == [("G108", "rank-collapse")]) == (not kept_apart)


def test_samples_that_are_each_others_classes_see_each_other_by_design():
    torch.manual_seed(0)
    x = torch.randn(64, 8)

    class Twins(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x):
            a, b = self.layer(x), self.layer(x + 0.1 * torch.randn_like(x))
            return 3000 * a @ b.T

    model = Twins()
    found = checked(
        (
            model,
            lambda m: F.cross_entropy(m(x), torch.arange(64)),
            torch.optim.SGD(model.parameters(), 1.0),
        )
    )
    assert "G408" not in {code for code, _ in found}
    assert found


@pytest.mark.parametrize(("update", "alarm"), [(0.03, True), (0.001, False)])
def test_a_rate_that_moves_far_and_is_beaten_by_a_tenth_of_it(update, alarm):
    falling = tuple(4.2 - 0.7 * i / 49 for i in range(50))
    lower = tuple(4.2 - 1.7 * i / 49 for i in range(50))
    track = ParameterTrack((1.0,) * 50, (update,) * 50, (1.0,) * 50)
    training = Training(
        falling, (1.0,) * 50, {"w": track}, replays=(Replay("rate", lower, 0.1),), uses=8.0
    )
    snapshot = isograd.probe(net(), lambda m: m(torch.ones(2, 8)).square().sum())
    found = list(g303_rate.check(Case(snapshot, training)))
    assert [f.cause for f in found] == (["learning-rate"] if alarm else [])


def test_single_samples_that_run_off_to_infinity_are_no_noise():
    """The training ends before anything can be said of its noise: the rate is named."""
    found = checked(sampled(20.0, 1))
    assert found[0][0] == "G301"
    assert "G701" not in dict(found)
