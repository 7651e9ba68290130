"""Rules on what the loss gets: ranges, bounded or mis-scaled logits, products, odd labels."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isograd
from isograd.capture.labels import within
from rules.trained import adam, alarms, checked, classes, net, sgd


def classified(loss, rate=0.3, out=3):
    """The three classes with a loss of one's own."""
    torch.manual_seed(0)
    x, y = classes()
    model = net(out)
    return model, lambda m: loss(m(x), y), sgd(model, rate)


def signed(loss, shift=0.0):
    """A regression on targets of both signs."""
    torch.manual_seed(0)
    x = torch.randn(96, 8)
    y = x[:, 0] + 0.5 * x[:, 1].sin() + shift
    model = net(1)
    return model, lambda m: loss(m(x).flatten(), y), adam(model)


OUT_OF_REACH = {
    "abs": (lambda o, y: F.mse_loss(o.abs(), y), True),
    "square": (lambda o, y: (o.square() - y).square().mean(), True),
    "an even power": (lambda o, y: F.mse_loss(o**2, y), True),
    "an odd power": (lambda o, y: F.mse_loss(o**3, y), False),
    "exp": (lambda o, y: F.mse_loss(o.exp(), y), True),
    "a clamp": (lambda o, y: F.mse_loss(o.clamp(0, 0.1), y), True),
    "a wide clamp": (lambda o, y: F.mse_loss(o.clamp(-50, 50), y), False),
    "a sigmoid": (lambda o, y: F.mse_loss(o.sigmoid(), y), True),
    "a stretched sigmoid": (lambda o, y: F.mse_loss(8 * o.sigmoid() - 4, y), False),
    "one minus a sigmoid": (lambda o, y: F.mse_loss(1 - o.sigmoid(), y), True),
    "swapped arguments": (lambda o, y: F.mse_loss(y, o.relu()), True),
    "elu": (lambda o, y: F.mse_loss(F.elu(o), y), True),
    "elu that reaches": (lambda o, y: F.mse_loss(F.elu(o, 9.0), y), False),
}


@pytest.mark.parametrize("name", OUT_OF_REACH)
def test_targets_outside_of_what_the_last_op_can_put_out(name):
    loss, alarm = OUT_OF_REACH[name]
    model, step, _ = signed(loss)
    found = alarms(isograd.check(model, step))
    assert (("G407", "loss-head") in found) == alarm


BOUNDED = {
    "tanh": (lambda o: o.tanh(), True),
    "a clamp at one": (lambda o: o.clamp(-1, 1), True),
    "a soft cap at thirty": (lambda o: 30 * (o / 30).tanh(), False),
    "free": (lambda o: o, False),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_an_activation_that_keeps_logits_together(name):
    head, alarm = BOUNDED[name]
    found = checked(classified(lambda o, y: F.cross_entropy(head(o), y)))
    assert (found[:1] == [("G411", "loss-head")]) == alarm


def test_the_floor_of_bounded_logits_is_the_least_loss_there_is():
    """Logits of -1 and 1 at best: ln(1 + (C - 1) exp(-2)) by direct evaluation."""
    model, step, _ = classified(lambda o, y: F.cross_entropy(o.tanh(), y))
    (call,) = isograd.probe(model, step).losses
    best = torch.tensor([[1.0, -1.0, -1.0]], dtype=torch.float64)
    least = float(F.cross_entropy(best, torch.tensor([0])))
    assert call.floor() == pytest.approx(least, rel=1e-12)
    binary = (classes()[1] > 0).float()
    model, step, _ = classified(
        lambda o, y: F.binary_cross_entropy_with_logits(o.relu().flatten(), binary), out=1
    )
    (call,) = isograd.probe(model, step).losses
    zeros = 1 - float(binary.mean())
    assert call.floor() == pytest.approx(zeros * math.log(2), rel=1e-6)  # float32 mean


TEMPERATURES = {"divides": (1e-5, True), "multiplies": (1e4, True), "of one": (1.0, False)}


@pytest.mark.parametrize("name", TEMPERATURES)
def test_logits_of_a_scale_without_a_slope(name):
    factor, alarm = TEMPERATURES[name]
    found = checked(classified(lambda o, y: F.cross_entropy(o * factor, y)))
    assert (found[:1] == [("G412", "loss-head")]) == alarm


def test_logits_that_start_at_zero_on_purpose_are_left_alone():
    torch.manual_seed(0)
    x, y = classes()
    model = net()
    nn.init.zeros_(model[-1].weight)
    nn.init.zeros_(model[-1].bias)
    assert checked((model, lambda m: F.cross_entropy(m(x), y), sgd(model))) == []


def test_a_product_that_broadcasts_to_every_pair():
    target = (classes()[1] > 0).float()

    def by_hand(o, y):
        return -(target * F.logsigmoid(o) + (1 - target) * F.logsigmoid(-o)).mean()

    found = checked(classified(by_hand, out=1))
    assert found[0] == ("G401", "loss-shape")
    assert [code for code, _ in found].count("G401") == 1
    flat = checked(classified(lambda o, y: by_hand(o.flatten(), y), out=1))
    assert "G401" not in {code for code, _ in flat}


def test_probabilities_where_their_logarithm_or_logits_belong():
    soft = F.one_hot(classes()[1], 3).float() * 0.9 + 1 / 30
    wrong = classified(lambda o, y: F.kl_div(o.softmax(-1), soft, reduction="batchmean"))
    right = classified(lambda o, y: F.kl_div(o.log_softmax(-1), soft, reduction="batchmean"))
    assert checked(wrong)[0] == ("G413", "loss-head")
    assert checked(right) == []
    hard = F.one_hot(classes()[1], 3).float()
    squashed = classified(lambda o, y: F.binary_cross_entropy_with_logits(o.softmax(-1), hard))
    assert checked(squashed)[0] == ("G401", "loss-head")


def test_labels_that_the_net_has_no_output_for_are_a_finding():
    found = checked(classified(lambda o, y: F.cross_entropy(o, y + 1)))
    assert found == [("G406", "labels")]
    ignored = classified(lambda o, y: F.cross_entropy(o, torch.where(y == 2, -100, y)))
    assert checked(ignored) == []


@pytest.mark.parametrize(("axis", "alarm"), [(1, True), (-1, False)])
def test_a_softmax_over_another_axis_than_the_classes(axis, alarm):
    torch.manual_seed(0)
    tokens = torch.randint(5, (16, 7))
    model = nn.Sequential(nn.Embedding(5, 16), nn.Linear(16, 5))

    def step(m):
        logs = m(tokens).log_softmax(axis)
        return F.nll_loss(logs.flatten(0, 1), tokens.flip(1).flatten())

    assert (("G413", "loss-head") in alarms(isograd.check(model, step))) == alarm


def test_logits_where_a_probability_belongs_are_a_finding():
    target = (classes()[1] > 0).float()

    def training(head):
        loss = lambda o, y: F.binary_cross_entropy(head(o).flatten(), target)  # noqa: E731
        return classified(loss, out=1)

    assert checked(training(lambda o: o)) == [("G413", "loss-head")]
    assert checked(training(torch.sigmoid)) == []


def test_labels_are_moved_into_range_by_a_probe_only():
    logits, labels = torch.zeros(3, 3), torch.tensor([-1, 1, 7])
    moved = within((logits, labels), {})
    assert moved is not None
    assert moved[0][1].tolist() == [0, 1, 2]
    assert labels.tolist() == [-1, 1, 7]
    assert within((logits, torch.tensor([0, -100, 2])), {}) is None
    kept = within((logits,), {"target": labels, "ignore_index": -1})
    assert kept is not None
    assert kept[1]["target"].tolist() == [-1, 1, 2]


@pytest.mark.parametrize(("weight", "alarm"), [((1.0, 0.0, 0.0), True), ((1.0, 0.5, 0.0), False)])
def test_class_weights_that_leave_one_class(weight, alarm):
    loss = lambda o, y: F.cross_entropy(o, y, weight=torch.tensor(weight))  # noqa: E731
    assert (("G406", "labels") in checked(classified(loss))) == alarm


def test_a_rare_class_that_other_steps_show_is_no_constant_label():
    """The first batch and the last hold one class, and those between hold others."""
    torch.manual_seed(0)
    x, y = classes()
    model = net()
    calls = 0

    def step(m):
        nonlocal calls
        calls += 1
        rare = torch.where(torch.arange(96) < 2, y, 1) if calls % 7 == 3 else torch.ones_like(y)
        return F.cross_entropy(m(x), rare)

    assert ("G406", "labels") not in checked((model, step, sgd(model)))


def test_a_penalty_is_not_compared_with_what_a_guess_scores():
    """The sum of a cross-entropy and a large penalty stays above ln 3 while the net learns."""
    torch.manual_seed(0)
    x, y = classes()
    model = net()

    def step(m):
        return F.cross_entropy(m(x), y) + 0.02 * sum(p.square().sum() for p in m.parameters())

    assert isograd.probe(model, step).constant_loss is None
    assert checked((model, step, sgd(model, 0.1))) == []
