"""What a loop does to weights and gradients: G312, G506; own functions and weights: G507, G508."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isograd
from isograd.monitor.between import Between, kept_gradients, kept_weights, written
from isograd.monitor.own_backward import torch_backward
from rules.trained import adam, alarms, checked, classes, explained, sgd


def narrow():
    """A body of two tanh units, without which the head knows nothing, and a head."""
    torch.manual_seed(1)
    body = nn.Sequential(nn.Linear(8, 2), nn.Tanh())
    body[0].weight.data[:, :2] = 0.0
    return nn.Sequential(body, nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 3))


def looped(behind, after=lambda model: None, model=None):
    """A loop that does something between backward and step, and after the step."""
    x, y = classes()
    model = model or narrow()

    def train_step(m, optimizer):
        optimizer.zero_grad()
        loss = F.cross_entropy(m(x), y)
        loss.backward()
        behind(m)
        optimizer.step()
        after(m)
        return loss.detach()

    step = lambda m: F.cross_entropy(m(x), y)  # noqa: E731
    return isograd.check(model, step, adam(model, 0.03), 25, train_step=train_step)


@pytest.mark.parametrize("how", ["None", "zero"])
def test_a_gradient_that_the_loop_throws_away(how):
    def throw(m):
        for p in m[0].parameters():
            p.grad = None if how == "None" else torch.zeros_like(p)

    diagnosis = looped(throw)
    assert alarms(diagnosis)[0] == ("G506", "frozen")
    assert all(name.startswith("0.") for name in diagnosis.findings[0].where)


def test_gradients_that_are_clipped_or_thrown_now_and_then_stay():
    count = [0]

    def now_and_then(m):
        count[0] += 1
        nn.utils.clip_grad_norm_(m.parameters(), 1.0)
        if count[0] % 3 == 0:
            m[0].zero_grad()

    diagnosis = looped(now_and_then)
    assert "G506" not in explained(diagnosis) | {c for c, _ in alarms(diagnosis)}
    assert diagnosis.training.thrown == ()


def clamped(m):
    with torch.no_grad():
        for p in m.parameters():
            p.clamp_(-1e-3, 1e-3)


def rounded(m):
    with torch.no_grad():
        for p in m.parameters():
            p.mul_(8).round_().div_(8)


@pytest.mark.parametrize(
    ("after", "cause"), [(clamped, "clipping"), (rounded, "precision"), ("back", "optimizer-state")]
)
def test_weights_that_are_written_over_after_the_step(after, cause):
    model = narrow()
    start = copy.deepcopy(model.state_dict())
    after = (lambda m: m.load_state_dict(start)) if after == "back" else after
    assert alarms(looped(lambda m: None, after, model))[0] == ("G312", cause)


@torch.no_grad()
def averaged(m):
    """A norm that is kept: most of a step stays."""
    for p in m.parameters():
        p.mul_(min(1.0, 3.0 / float(p.norm() + 1e-9)))


def test_a_constraint_that_a_net_learns_with_is_fine():
    assert [code for code, _ in alarms(looped(lambda m: None, averaged)) if code == "G312"] == []


def test_shares_that_are_taken_back_against_a_closed_form():
    """A loop that undoes 3/4 of each step of SGD."""
    model = nn.Linear(3, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    between = Between(model, optimizer)
    with between.following():
        for _ in range(8):
            optimizer.zero_grad()
            model(torch.ones(2, 3)).sum().backward()
            before = model.weight.detach().clone()
            optimizer.step()
            with torch.no_grad():
                model.weight.copy_(before + (model.weight - before) / 4)
    assert between.undone()["weight"] == pytest.approx(0.75, abs=1e-5)
    assert between.thrown() == ()
    assert written(model, {"weight": 0.75}) == ""


def test_what_is_kept_is_what_the_optimizer_left():
    model = nn.Linear(3, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with kept_weights(model, optimizer), kept_gradients(model, optimizer):
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(2, 3)).sum().backward()
            model.weight.grad = None
            optimizer.step()
            left = model.weight.detach().clone()
            with torch.no_grad():
                model.weight.zero_()
            model(torch.ones(1, 3))
            torch.testing.assert_close(model.weight.detach(), left, rtol=0, atol=0)
    assert bool(left.any())


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return -2 * gradient


class Spike(torch.autograd.Function):
    """A step with a surrogate slope: autograd has nothing better."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x > 0).float()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient / (1 + x.abs()) ** 2


class Applied(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.net, self.function = narrow(), function

    def forward(self, x):
        return self.net[1:](self.function.apply(self.net[0](x)))


def test_a_backward_with_the_wrong_sign():
    x, y = classes()
    torch.manual_seed(0)
    model = Applied(Reversed)
    found = checked((model, lambda m: F.cross_entropy(m(x), y), sgd(model, 0.3)))
    assert found[0] == ("G507", "non-differentiable")


def test_a_surrogate_slope_is_left_alone():
    x, y = classes()
    model = Applied(Spike)
    found = checked((model, lambda m: F.cross_entropy(m(x), y), adam(model)))
    assert "G507" not in dict(found)


def test_autograd_differentiates_an_own_forward():
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    model, optimizer = nn.Linear(1, 1), torch.optim.SGD([torch.zeros(1)], 0.1)
    with torch_backward(model, optimizer):
        Reversed.apply(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 2.0))
    x.grad = None
    Reversed.apply(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, -2.0))


class Closed(nn.Module):
    """A layer that only a function knows."""

    def __init__(self, frozen=False):
        super().__init__()
        layer = narrow()[0].requires_grad_(not frozen)
        self.call = lambda x: layer(x)
        self.head = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 3))

    def forward(self, x):
        return self.head(self.call(x))


def test_a_layer_in_a_closure():
    x, y = classes()
    model = Closed()
    step = lambda m: F.cross_entropy(m(x), y)  # noqa: E731
    assert checked((model, step, adam(model)))[0] == ("G508", "optimizer-state")
    assert len(isograd.probe(model, step).strange) == 1


def test_a_net_outside_of_the_model_or_a_frozen_one_is_no_part_of_it():
    x, y = classes()
    assert isograd.probe(Closed(frozen=True), lambda m: F.cross_entropy(m(x), y)).strange == ()
    judge, model = nn.Linear(3, 3), narrow()
    assert isograd.probe(model, lambda m: F.cross_entropy(judge(m(x)), y)).strange == ()


def test_coordinates_that_need_a_gradient_are_no_weights():
    x = torch.randn(16, 8, requires_grad=True)
    _, y = classes(16)
    assert isograd.probe(narrow(), lambda m: F.cross_entropy(m(x), y)).strange == ()
