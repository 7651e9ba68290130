"""Terms of a loss, and the changes a training is replayed with, against trainings by hand."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isograd
from isograd.monitor.changes import Situation, settings
from isograd.monitor.tampering import _standardised_targets, flows, standardised_inputs
from isograd.monitor.terms import Scalars, loss_terms
from isograd.monitor.training import copied_optimizer, train_copy

# Factors are read back as ratios of float64 losses; trainings differ in the order of rounding.
EXACT = 1e-9
X = torch.randn(24, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = torch.randn(24, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 2)).double()


def fit(m):
    return F.mse_loss(m(X), Y)


def kl(m):
    return m(X).exp().mean()


def l2(m):
    return [p.square().sum() for p in m.parameters()]


def in_place(m):
    loss = fit(m)
    loss += 0.1 * l2(m)[0]
    return loss


def in_place_scaled(m):
    loss = fit(m) + kl(m)
    loss /= 4
    return loss


IN_PLACE = pytest.mark.xfail(reason="the tensor kept for the first term is changed in place")
ALPHA = pytest.mark.xfail(reason="`alpha` of the addition is left out")
LEAF = pytest.mark.xfail(reason="a term that is itself a parameter is left out")
# The loss, and its groups by hand: what depends on parameters only comes first.
CASES = {
    "recon + beta * kl": (lambda m: fit(m) + 0.3 * kl(m), lambda m: [fit(m), 0.3 * kl(m)]),
    "(a + b) / n": (lambda m: (fit(m) + kl(m)) / 4, lambda m: [fit(m) / 4, kl(m) / 4]),
    "a - b": (lambda m: fit(m) - kl(m), lambda m: [fit(m), -kl(m)]),
    "-(a - 2b)": (lambda m: -(fit(m) - 2 * kl(m)), lambda m: [-fit(m), 2 * kl(m)]),
    "single": (fit, lambda m: [fit(m)]),
    "single scaled": (lambda m: 3 * fit(m), lambda m: [3 * fit(m)]),
    "penalties": (lambda m: fit(m) + 0.1 * sum(l2(m)), lambda m: [0.1 * sum(l2(m)), fit(m)]),
    "sum over parameters": (
        lambda m: sum((0.1 * p for p in l2(m)), fit(m)),
        lambda m: [0.1 * sum(l2(m)), fit(m)],
    ),
    "l1 and norm": (
        lambda m: fit(m) + m[0].weight.abs().sum() + m[2].weight.norm(),
        lambda m: [m[0].weight.abs().sum() + m[2].weight.norm(), fit(m)],
    ),
    "in place": (in_place, lambda m: [0.1 * l2(m)[0], fit(m)]),
    "scaled in place": (in_place_scaled, lambda m: [fit(m) / 4, kl(m) / 4]),
    "alpha": (
        lambda m: torch.add(fit(m), kl(m), alpha=0.3),
        lambda m: [fit(m), 0.3 * kl(m)],
    ),
}
MARKS = {"in place": IN_PLACE, "scaled in place": IN_PLACE, "alpha": ALPHA}


@pytest.mark.parametrize("name", [pytest.param(n, marks=MARKS.get(n, ())) for n in CASES])
def test_terms_are_those_by_hand_and_add_up_to_the_loss_and_its_gradient(name):
    step, by_hand = CASES[name]
    model = net()
    with Scalars() as scalars:
        loss = step(model)
        groups = loss_terms(loss, model, scalars.seen)
    sums = [torch.stack(group).sum() for group in groups]
    values = [s.item() for s in sums]
    expected = [t.item() for t in by_hand(model)]
    if len(expected) > 1 and name not in ("penalties", "sum over parameters", "l1 and norm"):
        values, expected = sorted(values), sorted(expected)
    assert values == pytest.approx(expected, rel=EXACT)
    assert sum(values) == pytest.approx(loss.item(), rel=EXACT)
    for got, wanted in zip(
        torch.autograd.grad(sum(sums), list(model.parameters()), allow_unused=True),
        torch.autograd.grad(step(model), list(model.parameters()), allow_unused=True),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted, rtol=EXACT, atol=1e-12)


@LEAF
def test_a_parameter_that_is_a_term_itself_is_kept():
    model = net()
    model.log_scale = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))
    with Scalars() as scalars:
        loss = fit(model) + model.log_scale
        groups = loss_terms(loss, model, scalars.seen)
    assert sum(t.item() for g in groups for t in g) == pytest.approx(loss.item(), rel=EXACT)


def losses(model, optimizer, x, y, steps=8):
    out = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        out.append(loss.item())
    return out


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def test_standardised_targets_train_as_on_standardised_targets_in_the_users_units():
    y = 300 * Y + 5000
    std, mean = (float(v) for v in torch.std_mean(y, correction=0))
    plain, changed = net(), net()
    expected = losses(plain, sgd(plain), X, (y - mean) / std)
    optimizer = sgd(changed)
    with _standardised_targets(mean, std, 2)(changed, optimizer):
        found = losses(changed, optimizer, X, y)
    assert [loss / std**2 for loss in found] == pytest.approx(expected, rel=EXACT)
    assert expected[-1] < 0.95 * expected[0]
    for a, b in zip(changed.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=EXACT, atol=1e-11)


@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_standardised_inputs_train_as_on_standardised_inputs(scale):
    x = scale * X * torch.arange(1.0, 6.0) + scale
    x[:, 3] = 7 * scale  # a constant column is only centred
    std, mean = torch.std_mean(x, 0, correction=0)
    std[3] = 1
    plain, changed = net(), net()
    expected = losses(plain, sgd(plain), (x - mean) / std, Y)
    optimizer = sgd(changed)
    with standardised_inputs(changed, optimizer):
        found = losses(changed, optimizer, x, Y)
    assert found == pytest.approx(expected, rel=EXACT)
    assert not changed._forward_pre_hooks


def test_standardised_images_keep_their_channels_and_later_batches_the_first_ones_moments():
    seen = []

    class Keep(nn.Module):
        def forward(self, x):
            seen.append(x)

    model, x = Keep(), 3 + 2 * torch.randn(4, 3, 5, 6, dtype=torch.float64)
    with standardised_inputs(model, None):
        model(x)
        model(2 * x)
    std, mean = torch.std_mean(x, (0, 2, 3), keepdim=True, correction=0)
    torch.testing.assert_close(seen[0], (x - mean) / std, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(seen[1], (2 * x - mean) / std, rtol=1e-12, atol=1e-12)


def state(model, optimizer):
    hooks = [(dict(m._forward_hooks), dict(m._forward_pre_hooks)) for m in model.modules()]
    flags = [p.requires_grad for p in model.parameters()]
    return copy.deepcopy((model.state_dict(), optimizer.state_dict(), flags)), hooks


def test_each_change_and_a_whole_failing_training_leave_everything_of_the_users_as_it_was():
    model = net()
    model[0].weight.requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-9, betas=(0.99, 0.999), eps=1e-3)
    handle = model.register_forward_hook(lambda *_: None)
    x, y = 1000 * X[:6], 1000 * Y[:6] + 9000

    def step(m):
        return F.mse_loss(m(x), y) + 0.1 * m[2].weight.square().sum()

    step(model).backward()
    optimizer.step()
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    (before, hooks), random = state(model, optimizer), torch.get_rng_state()
    start = isograd.probe(model, step)
    training = train_copy(model, step, optimizer, 3, start=start)
    case = Situation(model, optimizer, start, replace(training, replays=()), True, True)
    changes = [*settings(case), *flows(case)]
    assert {c.name for c in changes} == set(
        "rate momentum eps draws frozen inputs targets penalty".split()
    ) | {"weight decay"}
    assert {r.change for r in training.replays} >= {c.name for c in changes}
    made = {}
    for change in changes:
        twin = copy.deepcopy(model)
        trainer = copied_optimizer(optimizer, model, twin)
        with change.entered(twin, trainer):
            group = trainer.param_groups[0]
            made[change.name] = (
                *(group[key] for key in ("betas", "weight_decay", "eps")),
                twin[0].weight.requires_grad,
            )
    usual = ((0.99, 0.999), 0.01, 1e-3, False)
    assert made["momentum"] == ((0.9, 0.999), *usual[1:])
    assert made["weight decay"] == (usual[0], 0, *usual[2:])
    assert made["eps"] == (*usual[:2], 1e-8, False)
    assert made["frozen"] == (*usual[:3], True)
    assert made["rate"] == made["inputs"] == made["targets"] == usual
    alone = [r.loss[0] for r in training.replays if r.change == "penalty"]
    parts = [F.mse_loss(model(x), y).item(), 0.1 * model[2].weight.square().sum().item()]
    assert alone == pytest.approx(parts, rel=1e-6)  # terms are added in float32
    (after, left) = state(model, optimizer)
    assert left == hooks
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    for kept, parameter in zip(gradients, model.parameters(), strict=True):
        assert kept is None if parameter.grad is None else torch.equal(kept, parameter.grad)
    assert torch.equal(torch.get_rng_state(), random)
    handle.remove()
