"""Rules on what the gradient cannot reach: new parts of G105, G304 and G501, and G502."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isograd
from isograd.rules import g304_clipping, g501_no_gradient
from rules.trained import adam, alarms, checked, classes, classified, explained, net, sgd


def overwriting(what):
    """A step that overwrites, through `.data`, what the backward pass reads."""
    x, y = classes()
    model = net(activation=nn.Sigmoid)

    def step(m):
        given = x.clone()
        hidden = m[0](given)
        active = m[1](hidden)
        loss = F.cross_entropy(m[2](active), y)
        if what == "input":
            given.data.zero_()
        if what == "activation":
            active.data.zero_()
        if what == "copy":
            active.detach().clone().zero_()
        return loss

    return model, step, sgd(model)


@pytest.mark.parametrize("what", ["input", "activation"])
def test_what_the_backward_pass_reads_was_overwritten(what):
    diagnosis = isograd.check(*overwriting(what), steps=20)
    assert alarms(diagnosis)[0] == ("G105", "graph-cut")
    assert "overwrote" in diagnosis.findings[0].advice[0]
    assert "0.weight" in [name for f in diagnosis.findings for name in f.where]


@pytest.mark.parametrize("what", ["", "copy"])
def test_writes_to_a_copy_are_quiet(what):
    assert checked(overwriting(what), 20) == []


def rounded(op):
    x, y = classes()
    model = net(activation=nn.Tanh)
    return model, lambda m: F.cross_entropy(m[2](op(m[1](m[0](x)))), y), sgd(model)


@pytest.mark.parametrize("op", [torch.round, torch.sign, torch.floor])
def test_an_op_without_a_slope_is_named(op):
    diagnosis = isograd.check(*rounded(op), steps=20)
    assert alarms(diagnosis)[0] == ("G105", "non-differentiable")
    assert f"`{op.__name__}`" in diagnosis.findings[0].title
    assert diagnosis.findings[0].where == ("0.weight", "0.bias")


def test_a_straight_through_sign_is_quiet():
    assert checked(rounded(lambda h: h + (h.sign() - h).detach()), 30) == []


def cleared(place, optimizer=sgd):
    x, y = classes()
    model = net()

    def step(m):
        return F.cross_entropy(m(x), y)

    def train_step(m, trainer):
        if place == "before backward":
            trainer.zero_grad()
        loss = step(m)
        loss.backward()
        if place.startswith("before step"):
            trainer.zero_grad(set_to_none=place.endswith("none"))
        trainer.step()
        if place == "after step":
            trainer.zero_grad()
        return loss

    return isograd.check(model, step, optimizer(model), steps=30, train_step=train_step)


@pytest.mark.parametrize("place", ["before step", "before step, none"])
@pytest.mark.parametrize("optimizer", [sgd, adam])
def test_gradients_cleared_after_the_backward_pass(place, optimizer):
    diagnosis = cleared(place, optimizer)
    assert alarms(diagnosis)[0] == ("G304", "accumulation")
    assert "cleared" in diagnosis.findings[0].title


@pytest.mark.parametrize("place", ["before backward", "after step"])
def test_gradients_cleared_where_they_should_be(place):
    assert alarms(cleared(place)) == []


def test_no_gradient_below_the_limit_is_no_alarm(monkeypatch):
    monkeypatch.setattr(g304_clipping, "LANDED", 0.0)
    assert "G304" not in dict(alarms(cleared("before step")))


class Stack(nn.Module):
    """Blocks whose results are computed and thrown away, all but `kept` of them."""

    def __init__(self, kept):
        super().__init__()
        self.stem, self.head, self.kept = nn.Linear(8, 16), nn.Linear(16, 3), kept
        self.blocks = nn.ModuleList(nn.Linear(16, 16) for _ in range(4))

    def forward(self, x):
        h = self.stem(x).relu()
        for i, block in enumerate(self.blocks):
            new = block(h).relu()
            if i < self.kept:
                h = new
        return self.head(h)


def test_a_stack_that_is_thrown_away():
    diagnosis = isograd.check(*classified(lambda: Stack(0)), steps=30)
    assert alarms(diagnosis) == [("G501", "graph-cut")]
    assert diagnosis.findings[0].where[0] == "blocks.0.weight"


def test_one_part_that_is_thrown_away_is_explained(monkeypatch):
    trained = classified(lambda: Stack(3), adam)
    diagnosis = isograd.check(*trained, steps=30)
    assert alarms(diagnosis) == []
    assert "G501" in explained(diagnosis)
    monkeypatch.setattr(g501_no_gradient, "THROWN", 0.1)
    assert checked(trained, 30) == [("G501", "graph-cut")]


def test_a_stack_that_is_used_is_quiet():
    diagnosis = isograd.check(*classified(lambda: Stack(4), adam), steps=30)
    assert alarms(diagnosis) == []
    assert "G501" not in explained(diagnosis)


class Forgetful(nn.Module):
    """A linear layer that ignores its bias unless told to use it."""

    def __init__(self, used):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(16, 8) / 3), nn.Parameter(torch.zeros(16))
        self.used = used

    def forward(self, x):
        return x @ self.weight.t() + (self.bias if self.used else 0.0)


def forgetful(used, rate):
    def build():
        return nn.Sequential(Forgetful(used), nn.ReLU(), nn.Linear(16, 3))

    return isograd.check(*classified(build, lambda m: sgd(m, rate)), steps=30)


def test_a_parameter_that_its_module_ignores_where_little_is_learnt():
    diagnosis = forgetful(False, 0.002)
    assert alarms(diagnosis)[0] == ("G501", "graph-cut")
    assert diagnosis.findings[0].where == ("0.bias",)


def test_a_parameter_that_its_module_ignores_is_explained_in_a_net_that_learns():
    diagnosis = forgetful(False, 1.0)
    assert alarms(diagnosis) == []
    assert "G501" in explained(diagnosis)
    assert "G501" not in dict(alarms(forgetful(True, 0.002)))


def deep():
    hidden = [m for i in range(4) for m in (nn.Linear(32 if i else 8, 32), nn.Tanh())]
    return nn.Sequential(*hidden, nn.Linear(32, 3))


def frozen(model, *parts, rate=0.05):
    x, y = classes()
    for part in parts:
        model[part].requires_grad_(False)
    held = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(held, lr=rate, momentum=0.9)
    return isograd.check(model, lambda m: F.cross_entropy(m(x), y), optimizer, steps=50)


def test_a_body_frozen_before_it_was_loaded():
    torch.manual_seed(0)
    diagnosis = frozen(deep(), 0, 2, 4, 6)
    assert alarms(diagnosis)[0] == ("G502", "frozen")
    assert diagnosis.findings[0].where[0] == "0.weight"


def test_a_frozen_part_beside_a_net_that_learns_is_explained():
    torch.manual_seed(0)
    diagnosis = frozen(deep(), 0, rate=0.1)
    assert alarms(diagnosis) == []
    assert "G501" in explained(diagnosis)


def test_a_trained_body_that_rests_is_quiet():
    model, step, trainer = classified(net, lambda m: adam(m, 0.02))
    for _ in range(100):
        trainer.zero_grad()
        step(model).backward()
        trainer.step()
    model.zero_grad()
    model[2].reset_parameters()
    assert alarms(frozen(model, 0)) == []
