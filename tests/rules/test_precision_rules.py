"""Rules on numbers: new parts of G601, and G604 and G605."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isograd
from isograd.rules import g604_underflow, g605_scale_left
from rules.trained import adam, alarms, checked, classes, explained, net, sgd

HALF = torch.float16


def squashed(scale, dtype):
    """A square that overflows in float16, and a tanh that hides it."""
    x, y = classes()
    model = net()

    def step(m):
        hidden = m[0](x)
        gate = torch.tanh((hidden.to(dtype) * scale).square()).float()
        return F.cross_entropy(m[2](hidden.relu() + gate), y)

    return model, step, sgd(model)


def test_an_overflow_of_float16_that_a_later_op_hides():
    diagnosis = isograd.check(*squashed(300.0, HALF)[:2])
    assert alarms(diagnosis)[0] == ("G601", "precision")
    first = diagnosis.findings[0]
    assert "overflows in float16" in first.title
    assert first.source is not None
    assert "test_precision_rules.py" in first.source


@pytest.mark.parametrize(("scale", "dtype"), [(300.0, torch.bfloat16), (0.1, HALF)])
def test_numbers_within_the_range_of_their_type(scale, dtype):
    assert not {"G601", "G604"} & set(dict(checked(squashed(scale, dtype), 20)))


def rooted(target, slope=0.0):
    """A root whose argument the training drives towards `target`, below 0 if it is negative.

    With a slope the targets vary with the inputs: constant ones are a fault of their own.
    """
    torch.manual_seed(0)
    x = torch.rand(96, 4) + 0.5
    model = nn.Linear(4, 1)
    nn.init.constant_(model.weight, 0.5)
    nn.init.zeros_(model.bias)
    loss = lambda m: F.mse_loss(m(x).sqrt(), target + slope * (x[:, :1] - 1))  # noqa: E731
    return model, loss, sgd(model, 0.1)


def test_a_step_that_breaks_later_is_placed_at_its_op():
    assert alarms(isograd.check(*rooted(-1.0))) == []
    diagnosis = isograd.check(*rooted(-1.0), steps=50)
    assert ("G601", "numerics") in alarms(diagnosis)
    first = next(finding for finding in diagnosis.findings if finding.code == "G601")
    assert "`sqrt`" in first.title
    assert first.step > 0


def test_a_root_that_stays_above_zero():
    assert checked(rooted(2.0, 1.0)) == []


def cast(m, x, dtype=HALF):
    """Logits of the net in another type, from weights in float32."""
    hidden = F.linear(x.to(dtype), m[0].weight.to(dtype), m[0].bias.to(dtype)).relu()
    return F.linear(hidden, m[2].weight.to(dtype), m[2].bias.to(dtype)).float()


def scaled(scale, optimizer=sgd, *, low=False, unscale=True, skip=True):
    """A loop with a loss scaler by hand, which lowers the scale when a gradient overflows."""
    x, y = classes()
    model = net()
    state = [scale]

    def step(m):
        return F.cross_entropy(cast(m, x) if low else m(x), y) * state[0]

    def train_step(m, trainer):
        trainer.zero_grad()
        loss = step(m)
        loss.backward()
        gradients = [p.grad for p in m.parameters()]
        if skip and not all(bool(g.isfinite().all()) for g in gradients):
            state[0] /= 16
            return loss
        if unscale:
            for gradient in gradients:
                gradient.div_(state[0])
        trainer.step()
        return loss

    return isograd.check(model, step, optimizer(model), steps=60, train_step=train_step)


def test_the_first_tries_of_a_loss_scaler_are_explained():
    diagnosis = scaled(2.0**24, low=True)
    assert alarms(diagnosis) == []
    assert "G601" in explained(diagnosis)


def test_an_overflow_that_no_scaler_skips_is_an_alarm():
    assert ("G601", "precision") in alarms(scaled(2.0**24, low=True, skip=False))


def test_a_scale_that_reaches_plain_sgd():
    assert alarms(scaled(2.0**16, unscale=False))[0] == ("G605", "precision")
    assert alarms(scaled(2048.0, lambda m: sgd(m, 0.01), unscale=False))[0][0] == "G605"


@pytest.mark.parametrize(
    ("optimizer", "unscale"),
    [(sgd, True), (adam, False), (lambda m: sgd(m, 0.3 / 2**16), False)],
    ids=["divided out", "Adam", "a rate that allows for it"],
)
def test_a_scale_that_does_no_harm(optimizer, unscale):
    assert alarms(scaled(2.0**16, optimizer, unscale=unscale)) == []


def test_a_scale_below_the_limit_is_not_called_one(monkeypatch):
    monkeypatch.setattr(g605_scale_left, "SCALED", 2.0**17)
    assert "G605" not in dict(alarms(scaled(2.0**16, unscale=False)))


def tiny(factor, rate, dtype):
    x, y = classes()
    model = net()
    return model, lambda m: F.cross_entropy(cast(m, x, dtype), y) * factor, sgd(model, rate)


def test_a_gradient_that_underflows_in_float16(monkeypatch):
    assert checked(tiny(1e-5, 0.3, HALF), 20)[0] == ("G604", "precision")
    monkeypatch.setattr(g604_underflow, "LOST", 1.0)
    assert "G604" not in dict(checked(tiny(1e-5, 0.3, HALF), 20))


@pytest.mark.parametrize(
    ("factor", "rate", "dtype"),
    [(1.0, 0.3, HALF), (1e-5, 3e4, torch.bfloat16), (1e-5, 3e4, torch.float32)],
)
def test_a_gradient_within_the_range_of_its_type(factor, rate, dtype):
    assert checked(tiny(factor, rate, dtype), 30) == []
