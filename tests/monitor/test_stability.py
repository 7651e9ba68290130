"""Sharpness in an optimizer's own metric, on quadratics whose stability is known exactly."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from isograd.monitor.metric import metric
from isograd.monitor.stability import sharpness

CURVES = torch.tensor([9.0, 4.0, 1.0, 0.25], dtype=torch.float64)


class Bowl(nn.Module):
    """`0.5 sum(c w^2)`, with Hessian diag(c)."""

    def __init__(self, at=1.0):
        super().__init__()
        self.w = nn.Parameter(torch.full((4,), at, dtype=torch.float64))

    def forward(self):
        return 0.5 * (CURVES * self.w**2).sum()


def loss(model):
    return model()


def grows(make, rate, steps=400):
    """True if a bowl runs away at that rate."""
    bowl = Bowl()
    optimizer = make(bowl.parameters(), rate)
    for _ in range(steps):
        optimizer.zero_grad()
        bowl().backward()
        optimizer.step()
    return not float(bowl.w.detach().abs().max()) < 1


@pytest.mark.parametrize(
    ("make", "limit"),
    [
        (lambda p, r: torch.optim.SGD(p, lr=r), 2.0),
        (lambda p, r: torch.optim.SGD(p, lr=r, momentum=0.9), 3.8),
        (lambda p, r: torch.optim.SGD(p, lr=r, momentum=0.9, dampening=0.5), 7.6),
        (lambda p, r: torch.optim.SGD(p, lr=r, momentum=0.9, nesterov=True), 3.8 / 2.8),
        (lambda p, r: torch.optim.SGD(p, lr=r, weight_decay=3.0), 2.0),
        (lambda p, r: torch.optim.SGD(p, lr=r, momentum=0.5, weight_decay=3.0), 3.0),
    ],
)
def test_the_stable_rate_of_sgd_is_where_a_quadratic_begins_to_run_away(make, limit):
    bowl = Bowl()
    found = sharpness(bowl, loss, make(bowl.parameters(), 0.01), tolerance=1e-9)
    assert found.limit == pytest.approx(limit)
    decay = make(Bowl().parameters(), 1.0).param_groups[0]["weight_decay"]
    assert found.value == pytest.approx(9.0 + decay, rel=1e-9)
    assert not grows(make, 0.99 * found.stable_rate)
    assert grows(make, 1.01 * found.stable_rate)
    assert found.product == pytest.approx(0.01 * (9 + decay))


def held(kind, squares, first, **settings):
    """An optimizer of the bowl whose second moment is set; at a late step it stays there."""
    bowl = Bowl()
    optimizer = kind(bowl.parameters(), **settings)
    bowl().backward()
    optimizer.step()
    state = optimizer.state[bowl.w]
    state[first].copy_(squares)
    if "step" in state:
        state["step"].fill_(1e6)
    return bowl, optimizer


SQUARES = torch.tensor([100.0, 1.0, 4.0, 0.01], dtype=torch.float64)
# H / sqrt(v): 0.9, 4, 0.5 and 2.5.


@pytest.mark.parametrize(
    ("kind", "key", "settings", "limit"),
    [
        (torch.optim.Adam, "exp_avg_sq", {"lr": 0.01}, 38.0),
        (torch.optim.AdamW, "exp_avg_sq", {"lr": 0.01, "weight_decay": 0.3}, 38.0),
        (torch.optim.Adam, "exp_avg_sq", {"lr": 0.01, "betas": (0.5, 0.999)}, 6.0),
        (torch.optim.RMSprop, "square_avg", {"lr": 0.01}, 2.0),
        (torch.optim.RMSprop, "square_avg", {"lr": 0.01, "momentum": 0.9}, 3.8),
        (torch.optim.Adagrad, "sum", {"lr": 0.01}, 2.0),
    ],
)
def test_adaptive_optimizers_see_the_curvature_over_their_own_scale(kind, key, settings, limit):
    bowl, optimizer = held(kind, SQUARES, key, **settings)
    found = sharpness(bowl, loss, optimizer)
    # eps is 1e-8 (1e-10 for Adagrad) beside a root of 1.
    assert found.value == pytest.approx(4.0, rel=1e-6)
    assert found.limit == pytest.approx(limit)


def test_adam_with_a_constant_scale_runs_away_just_above_38_over_the_sharpness():
    """Cohen et al. (2022): Adam is momentum in the form of an average, preconditioned."""
    rate = 38 / 4.0
    for factor, away in ((0.98, False), (1.02, True)):
        w = torch.ones(4, dtype=torch.float64)
        m = torch.zeros(4, dtype=torch.float64)
        for _ in range(4000):
            m = 0.9 * m + 0.1 * CURVES * w
            w = w - factor * rate * m / SQUARES.sqrt()
        assert (not float(w.abs().max()) < 1) is away


def test_bias_correction_of_the_first_steps_counts():
    bowl = Bowl()
    optimizer = torch.optim.Adam(bowl.parameters(), lr=1e-3)
    bowl().backward()
    optimizer.step()
    # After one step sqrt(v) is |g| = c and the first moment's correction is 0.1.
    scale = metric(optimizer).scales[0]
    torch.testing.assert_close(scale, 1 / (0.1 * CURVES), rtol=1e-6, atol=0)


def test_groups_with_rates_of_their_own_are_weighed_by_them():
    bowl, other = Bowl(), Bowl()
    model = nn.ModuleList([bowl, other])
    optimizer = torch.optim.SGD(
        [{"params": bowl.parameters(), "lr": 0.001}, {"params": other.parameters(), "lr": 0.1}]
    )
    found = sharpness(model, lambda m: m[0]() * 50 + m[1](), optimizer, tolerance=1e-9)
    # 450 at a hundredth of the rate counts 4.5, less than 9 at the whole rate.
    assert found.value == pytest.approx(9.0)
    assert found.rate == 0.1


def test_what_is_not_known_is_not_said():
    bowl = Bowl()
    assert sharpness(bowl, loss, torch.optim.Adam(bowl.parameters())) is None  # no state yet
    assert sharpness(bowl, loss, torch.optim.LBFGS(bowl.parameters())) is None
    assert sharpness(bowl, loss, torch.optim.SGD(bowl.parameters(), lr=0.1, maximize=True)) is None
    broken = Bowl(math.nan)
    assert sharpness(broken, loss, torch.optim.SGD(broken.parameters(), lr=0.1)) is None


def test_it_is_the_same_each_time_and_leaves_the_net_alone():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.2), nn.ReLU(), nn.Linear(16, 3))
    x, y = torch.randn(32, 8), torch.randint(3, (32,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = [p.detach().clone() for p in model.parameters()]

    def measured():
        torch.manual_seed(5)
        return sharpness(model, lambda m: F.cross_entropy(m(x), y), optimizer)

    assert measured() == measured()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())
