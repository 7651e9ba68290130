"""Rules on inputs, targets, labels and the loss: G403 to G409."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isograd
from isograd.monitor import rerun
from isograd.rules import g403_input_scale, g406_labels, g407_output_range
from rules.trained import adam, alarms, checked, classes, classified, net, sgd

COLUMNS = torch.ones(8)
COLUMNS[5] = 1000.0
INPUTS = {
    "a factor of 300": (300.0, 0.05, True),
    "one column of a thousand": (COLUMNS, 0.05, True),
    "a factor of 1e-4": (1e-4, 0.3, True),
    "unit scale": (1.0, 0.3, False),
    "a factor of 3": (3.0, 0.05, False),
    "a factor of 12 at a fitting rate": (12.0, 1e-3, False),
}


@pytest.mark.parametrize("name", INPUTS)
def test_inputs_off_unit_scale_are_the_first_cause_where_they_hinder(name):
    scale, rate, alarm = INPUTS[name]
    found = checked(classified(net, lambda m: sgd(m, rate), scale))
    assert found[:1] == ([("G403", "input-scale")] if alarm else [])


def test_a_loop_that_cannot_be_run_again_is_judged_by_the_scale_alone(monkeypatch):
    def found():
        torch.manual_seed(0)
        model, step, optimizer = classified(net, lambda m: sgd(m, 1e-7), 300.0)
        with isograd.watch(model, optimizer, budget=None) as watch:
            for _ in range(20):
                optimizer.zero_grad()
                step(model).backward()
                optimizer.step()
        return alarms(watch.diagnosis())

    monkeypatch.setattr(rerun, "LARGEST", 0)
    assert ("G403", "input-scale") in found()
    monkeypatch.setattr(g403_input_scale, "LARGE", 1e3)
    assert ("G403", "input-scale") not in found()


def test_inputs_that_are_all_zero_come_before_what_they_do_to_the_signal():
    assert checked(classified(net, lambda m: sgd(m, 0.05), 0.0))[0] == ("G403", "data")


def regression(targets, build=lambda: net(1), optimizer=adam, loss=F.mse_loss):
    torch.manual_seed(0)
    x = torch.randn(96, 8)
    y = targets(x[:, :1].sin() + 0.5 * x[:, 1:2])
    model = build()
    return model, lambda m: loss(m(x), y), optimizer(model)


TARGETS = {
    "a thousand": (lambda t: 1000 * t, adam, True),
    "a mean of a hundred": (lambda t: t + 100, adam, True),
    "a thousand, SGD": (lambda t: 1000 * t, lambda m: sgd(m, 0.05), True),
    "three": (lambda t: 3 * t, adam, False),
    "twenty, at a rate that gets there": (lambda t: 20 * t, lambda m: adam(m, 0.1), False),
}


@pytest.mark.parametrize("name", TARGETS)
def test_targets_off_unit_scale_are_the_first_cause_where_they_hinder(name):
    targets, optimizer, alarm = TARGETS[name]
    found = checked(regression(targets, optimizer=optimizer))
    assert found[:1] == ([("G404", "data")] if alarm else [])


def by_hand(output, y):
    return F.log_softmax(output, 1)[torch.arange(len(y)), y].mean()


LOSSES = {
    "minus cross-entropy": (lambda m, x, y: -F.cross_entropy(m(x), y), True),
    "minus squared error": (lambda m, x, y: -F.mse_loss(m(x)[:, 0], y.float()), True),
    "log-likelihood minimised": (lambda m, x, y: by_hand(m(x), y), True),
    "log-likelihood maximised": (lambda m, x, y: -by_hand(m(x), y), False),
    "one loss down and another up": (
        lambda m, x, y: F.cross_entropy(m(x), y) - 0.1 * F.cross_entropy(m(-x), y),
        False,
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_sign_of_the_loss(name):
    loss, alarm = LOSSES[name]
    x, y = classes()
    model = net()
    found = checked((model, lambda m: loss(m, x, y), sgd(model, 0.1)))
    assert found[:1] == ([("G405", "loss-head")] if alarm else [])


BCE = F.binary_cross_entropy_with_logits
LABELS = {
    "one class": (3, lambda o, y: F.cross_entropy(o, 0 * y + 1), True),
    "one binary label": (1, lambda o, y: BCE(o[:, 0], torch.ones(96)), True),
    "binary labels of 2": (1, lambda o, y: BCE(o[:, 0], y.float()), True),
    "binary labels of -1": (1, lambda o, y: BCE(o[:, 0], 2 * (y > 0).float() - 1), True),
    "balanced": (3, lambda o, y: F.cross_entropy(o, torch.arange(96) % 3), False),
    "binary": (1, lambda o, y: BCE(o[:, 0], (y > 0).float()), False),
    "smoothed": (1, lambda o, y: BCE(o[:, 0], 0.9 * (y > 0).float() + 0.05), False),
    "one label for each of two batches": (
        1,
        lambda o, y: BCE(o[:48], torch.ones(48, 1)) + BCE(-o[48:], torch.zeros(48, 1)),
        False,
    ),
}


def labelled(name):
    out, loss, alarm = LABELS[name]
    x, y = classes()
    model = net(out)
    return (model, lambda m: loss(m(x), y), sgd(model)), alarm


@pytest.mark.parametrize("name", LABELS)
def test_labels_that_teach_nothing(name):
    trained, alarm = labelled(name)
    found = checked(trained)
    if alarm:
        assert found[0] == ("G406", "labels")
    else:
        assert "G406" not in dict(found)


def test_a_small_batch_may_hold_one_class_by_chance(monkeypatch):
    trained, _ = labelled("one class")
    monkeypatch.setattr(g406_labels, "LABELS", 2 * 96 + 1)  # the first batch and the last
    assert "G406" not in dict(checked(trained))


def ending(activation):
    return lambda: net(1).append(activation())


RANGES = {
    "ReLU below 0": (nn.ReLU, lambda t: t, 0.05, True),
    "sigmoid above 1": (nn.Sigmoid, lambda t: 3 * t, 0.05, True),
    "tanh above 1": (nn.Tanh, lambda t: 3 * t + 2, 0.05, True),
    "ReLU above 0": (nn.ReLU, lambda t: t.abs() + 0.1, 0.05, False),
    "sigmoid within": (nn.Sigmoid, torch.sigmoid, 2.0, False),
    "sigmoid at the edges": (nn.Sigmoid, lambda t: (t > 0).float(), 1.0, False),
}


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("loss", [F.mse_loss, lambda o, y: (o - y).square().mean()])
def test_targets_out_of_the_range_of_the_output(name, loss):
    activation, targets, rate, alarm = RANGES[name]
    found = checked(regression(targets, ending(activation), lambda m: sgd(m, rate), loss), 30)
    assert found[:1] == ([("G407", "loss-head")] if alarm else [])


def test_a_few_targets_out_of_range_are_no_alarm(monkeypatch):
    def targets(t):
        y = t.sigmoid()
        y[:8] = 3.0  # 8 % of the targets
        return y

    found = checked(regression(targets, ending(nn.Sigmoid), lambda m: sgd(m, 2.0)), 30)
    assert ("G407", "loss-head") in found
    monkeypatch.setattr(g407_output_range, "UNREACHABLE", 0.1)
    found = checked(regression(targets, ending(nn.Sigmoid), lambda m: sgd(m, 2.0)), 30)
    assert "G407" not in dict(found)


class View(nn.Module):
    """`mixed`: a view where a transpose was undone, so that samples mix."""

    def __init__(self, mixed):
        super().__init__()
        self.first, self.last, self.mixed = nn.Linear(8, 32), nn.Linear(32, 3), mixed

    def forward(self, x):
        h = self.first(x).relu()
        return self.last(h.t().reshape(h.shape) if self.mixed else h)


class Set(nn.Module):
    """Members of a set attend to each other, as they should."""

    def __init__(self):
        super().__init__()
        self.first, self.query, self.last = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x):
        h = self.first(x)
        return self.last(torch.softmax(self.query(h) @ h.t(), 1) @ h)


def drawn(build, rate):
    x, y = classes(400)
    model = build()

    def step(m):
        chosen = torch.randperm(400)[:96]
        return F.cross_entropy(m(x[chosen]), y[chosen])

    return model, step, sgd(model, rate)


def test_samples_that_see_each_other_by_a_view():
    assert checked(drawn(lambda: View(True), 0.05))[0] == ("G408", "loss-shape")


@pytest.mark.parametrize("build", [lambda: View(False), Set])
def test_samples_that_see_only_what_they_should(build):
    assert checked(drawn(build, 0.3)) == []


def headed(deviation, scale=1.0):
    def build():
        model = net()
        nn.init.normal_(model[2].weight, std=deviation)
        return model

    return classified(build, lambda m: sgd(m, 0.01), scale)


@pytest.mark.parametrize(
    ("deviation", "scale", "cause"), [(10.0, 1.0, "loss-head"), (0.2, 300.0, "input-scale")]
)
def test_a_loss_that_starts_far_above_a_guess(deviation, scale, cause):
    diagnosis = isograd.check(*headed(deviation, scale)[:2])
    assert ("G409", cause) in alarms(diagnosis)
    assert "ln(3) = 1.10" in next(f.title for f in diagnosis.findings if f.code == "G409")


@pytest.mark.parametrize("deviation", [0.2, 1.0])
def test_a_loss_that_starts_near_a_guess(deviation):
    assert alarms(isograd.check(*headed(deviation)[:2])) == []
