"""Gradients that are not cleared show in a training that the budget leaves no whole record of."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import isograd
from isograd.monitor.leftover import LOOKS, Leftover


def net():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    return model, torch.optim.SGD(model.parameters(), lr=0.01)


def poor(watch, nap):
    """A governor that pays for nothing and lets so many steps pass unseen."""
    watch.governor.due = lambda kind: False
    watch.governor.wait = lambda kinds: nap
    return watch


def stale(loop, nap, steps=60):
    """Leftovers that a watch saw, and the codes of what it found."""
    model, optimizer = net()
    x = torch.randn(32, 4)

    def loss(scale=1.0):
        return scale * (model(x) - x[:, :1]).square().mean()

    with poor(isograd.watch(model, optimizer, budget=0.01), nap) as watch:
        for step in range(steps):
            loop(step, loss, optimizer)
    codes = [finding.code for finding in watch.diagnosis().findings]
    return watch._recorder.training().stale, codes


def never(step, loss, optimizer):
    loss().backward()
    optimizer.step()


def before(step, loss, optimizer):
    optimizer.zero_grad()
    loss().backward()
    optimizer.step()


def to_zero(step, loss, optimizer):
    loss().backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)


def accumulates(step, loss, optimizer):
    optimizer.zero_grad()
    for _ in range(4):
        loss(0.25).backward()
    optimizer.step()


def stray(step, loss, optimizer):
    """Somebody else's backward pass runs while the gradients are still there."""
    (torch.ones((), requires_grad=True) * 2).backward()
    before(step, loss, optimizer)


def clips(step, loss, optimizer):
    loss().backward()
    nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 0.01)
    optimizer.step()


@pytest.mark.parametrize("nap", [0, 5])
@pytest.mark.parametrize("loop", [never, clips])
def test_what_is_never_cleared_is_found_without_a_whole_record(loop, nap):
    left, codes = stale(loop, nap)
    assert left == (1,) * LOOKS
    assert "G305" in codes


@pytest.mark.parametrize("nap", [0, 5])
@pytest.mark.parametrize("loop", [before, to_zero, accumulates, stray])
def test_what_is_cleared_leaves_nothing(loop, nap):
    left, codes = stale(loop, nap)
    assert left == (0,) * LOOKS
    assert "G305" not in codes


def test_two_optimizers_of_one_model_are_not_judged_by_a_look():
    critic, maker = nn.Linear(3, 1), nn.Linear(2, 3)
    model = nn.ModuleList([critic, maker])
    optimizers = [torch.optim.SGD(net.parameters(), lr=0.01) for net in model]
    with poor(isograd.watch(model, budget=0.01), 0) as watch:
        for _ in range(12):
            for at, optimizer in enumerate(optimizers):
                optimizer.zero_grad()
                fake = maker(torch.randn(4, 2))
                (critic(fake if at else fake.detach()).mean()).backward()
                optimizer.step()
    assert max(watch._recorder.training().stale, default=0) == 0


def test_no_look_is_paid_from_nothing():
    model, optimizer = net()
    with poor(isograd.watch(model, optimizer, budget=0), 0) as watch:
        for _ in range(10):
            model(torch.ones(2, 4)).sum().backward()
            optimizer.step()
    assert watch._recorder.training().stale == ()


def test_a_gradient_that_is_not_finite_tells_nothing():
    leftover = Leftover()
    weight = nn.Parameter(torch.ones(3))
    for value in (0.0, float("inf"), float("nan")):
        weight.grad = torch.full((3,), value)
        leftover.stepped(1, [weight])
        assert not leftover.waits
        assert leftover.taken() is None


def test_looks_are_rare_and_of_steps_of_both_kinds():
    leftover, seen = Leftover(), []
    for step in range(1, 100):
        if leftover.due(step):
            leftover.stepped(step, [])
            seen.append(step)
    assert seen == [1, 2, 3, 4, 7, 11, 17, 26, 40, 61, 92]
