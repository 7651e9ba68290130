"""What a probe says about loss calls, likelihoods, softmaxes and float16, by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isograd

# Float64 sums of a few hundred numbers.
EXACT = 1e-12


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def classifier(features=6, classes=4):
    return nn.Sequential(nn.Linear(features, 8), nn.Tanh(), nn.Linear(8, classes)).double()


def data(rows=12):
    x = torch.randn(rows, 6, dtype=torch.float64)
    return x, torch.randint(4, (rows,)), torch.randn(rows, 4, dtype=torch.float64)


def op_of(snapshot, name):
    (op,) = (op for op in snapshot.ops if op.name == name)
    return op


@pytest.mark.parametrize("factor", [1.0, 0.25, -1.0, -3.0, 65536.0])
@pytest.mark.parametrize("loss", ["cross_entropy", "mse_loss", "l1_loss"])
def test_weight_is_the_factor_that_a_loss_enters_with(factor, loss):
    x, labels, targets = data()
    target = labels if loss == "cross_entropy" else targets
    call = getattr(F, loss)
    snapshot = isograd.probe(classifier(), lambda m: factor * call(m(x), target))
    assert [c.weight for c in snapshot.losses] == pytest.approx([factor], rel=EXACT)


@pytest.mark.parametrize("parts", [1, 3, 8])
def test_calls_of_an_accumulated_loss_weigh_one_over_their_number(parts):
    x, labels, _ = data(24)

    def step(model):
        pairs = zip(x.chunk(parts), labels.chunk(parts), strict=True)
        return sum(F.cross_entropy(model(a), b) / parts for a, b in pairs)

    weights = [c.weight for c in isograd.probe(classifier(), step).losses]
    assert weights == pytest.approx([1 / parts] * parts, rel=EXACT)


def test_a_mean_by_hand_weighs_one_and_a_sum_by_hand_the_number_of_entries():
    x, _, targets = data(12)

    def step(how):
        return lambda m: how(F.mse_loss(m(x), targets, reduction="none"))

    assert isograd.probe(classifier(), step(torch.mean)).losses[0].weight == pytest.approx(1)
    assert isograd.probe(classifier(), step(torch.sum)).losses[0].weight == pytest.approx(48)


def test_terms_of_a_loss_keep_their_own_weights_and_an_unused_one_has_none():
    x, labels, targets = data()

    def step(model):
        out = model(x)
        F.l1_loss(out, targets)
        return F.cross_entropy(out, labels) - 0.5 * F.mse_loss(out, targets)

    weights = {c.name: c.weight for c in isograd.probe(classifier(), step).losses}
    assert weights == {"l1_loss": None, "cross_entropy": 1.0, "mse_loss": -0.5}


@pytest.mark.parametrize(("sign", "rising"), [(-1, 0.0), (1, 1.0)])
def test_a_likelihood_by_hand_rises_for_no_entry_and_with_the_sign_error_for_all(sign, rising):
    x, labels, _ = data()

    def step(model):
        return sign * F.log_softmax(model(x), 1)[torch.arange(12), labels].mean()

    assert op_of(isograd.probe(classifier(), step), "log_softmax").rising == rising


def test_rising_counts_the_moved_entries_whose_gradient_is_positive():
    x, labels, _ = data()
    signs = torch.tensor([1.0, 1.0, 1.0, -1.0] * 3, dtype=torch.float64)

    def step(model):
        picked = F.log_softmax(model(x), 1)[torch.arange(12), labels]
        return (signs * picked).sum()

    assert op_of(isograd.probe(classifier(), step), "log_softmax").rising == 0.75


@pytest.mark.xfail(reason="torch calls it `log_sigmoid`, `_LIKELIHOODS` and `kinds` `logsigmoid`")
@pytest.mark.parametrize(("sign", "rising"), [(-1, 0.0), (1, 1.0)])
def test_logsigmoid_is_a_likelihood_too(sign, rising):
    x, _, _ = data()
    snapshot = isograd.probe(classifier(), lambda m: sign * F.logsigmoid(m(x)).mean())
    (op,) = (op for op in snapshot.ops if op.name in ("logsigmoid", "log_sigmoid"))
    assert (op.kind, op.rising) == ("activation", rising)


def test_other_ops_have_neither_rising_nor_dim():
    x, labels, _ = data()
    snapshot = isograd.probe(classifier(), lambda m: F.cross_entropy(m(x), labels))
    assert [(op.rising, op.dim) for op in snapshot.ops] == [(None, None)] * len(snapshot.ops)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize(("dim", "counted"), [(0, 0), (1, 1), (-1, 2), (-3, 0)])
def test_dim_of_a_softmax_is_counted_from_the_front(name, dim, counted):
    x, _, _ = data()
    call = getattr(torch, name)
    spellings = (lambda z: call(z, dim), lambda z: getattr(F, name)(z, dim=dim))
    for spelled in (*spellings, lambda z: getattr(z, name)(dim)):
        snapshot = isograd.probe(classifier(), lambda m, f=spelled: f(m(x).view(2, 6, 4)).std())
        assert op_of(snapshot, name).dim == counted


def test_sources_are_the_ops_whose_outputs_are_read():
    x, _, _ = data()

    def step(model):
        first = model(x)  # linear, tanh, linear: ops 0, 1, 2
        second = torch.sin(first)
        return (first * second + first).sum()

    snapshot = isograd.probe(classifier(), step)
    assert [(op.name.strip("_"), op.sources) for op in snapshot.ops] == [
        ("linear", ()),
        ("tanh", (0,)),
        ("linear", (1,)),
        ("sin", (2,)),
        ("mul", (2, 3)),
        ("add", (2, 4)),
        ("sum", (5,)),
    ]


RANGES = {
    "sigmoid": (torch.sigmoid, 0.0, 1.0),
    "tanh": (torch.tanh, -1.0, 1.0),
    "relu": (torch.relu, 0.0, math.inf),
}


@pytest.mark.parametrize("name", RANGES)
def test_unreachable_is_the_share_of_targets_outside_the_range_of_the_last_activation(name):
    act, low, high = RANGES[name]
    x, _, _ = data()
    y = torch.linspace(-2, 2, 48, dtype=torch.float64).view(12, 4)
    slack = 0.1 * float(y.std(correction=0))  # a tenth of a standard deviation is forgiven
    expected = sum(not low - slack <= t <= high + slack for t in y.flatten().tolist()) / 48
    assert 0.2 < expected < 0.8
    (call,) = isograd.probe(classifier(), lambda m: F.mse_loss(act(m(x)), y)).losses
    assert call.unreachable == pytest.approx(expected, rel=1e-6)  # one float32 division
    (call,) = isograd.probe(classifier(), lambda m: F.mse_loss(m(x), y)).losses
    assert call.unreachable == 0


def test_unreachable_looks_through_views_and_at_differences_by_hand():
    x, _, _ = data()
    y = torch.tensor([0.5, 3.0, -3.0, 0.5], dtype=torch.float64).repeat(12)

    def step(model):
        return (torch.sigmoid(model(x)).view(-1) - y).square().mean()

    assert [c.unreachable for c in isograd.probe(classifier(), step).losses] == [0.5]


def test_underflow_is_the_share_of_float16_gradient_below_two_to_the_minus_twenty():
    # Brute force: autograd's own gradients at the same tensors.
    model = nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh()).half()
    x = torch.randn(16, 6, dtype=torch.float16)

    def step(model):
        return model(x).float().square().mean() * 0.02

    snapshot = isograd.probe(model, step)
    tensors = [x]
    for layer in model:
        tensors.append(layer(tensors[-1]))
    loss = tensors[-1].float().square().mean() * 0.02
    gradients = torch.autograd.grad(loss, tensors[1:])
    shares = [float((g.abs().double() < 2.0**-20).double().mean()) for g in gradients]
    assert 0.001 < max(shares) < 1
    ops = [op for op in snapshot.ops if op.name in ("linear", "tanh")]
    # A share is a multiple of 1/1024; float32 holds it exactly.
    assert [op.underflow for op in ops] == shares


def test_underflow_is_not_given_in_other_dtypes():
    x, labels, _ = data()
    snapshot = isograd.probe(classifier(), lambda m: F.cross_entropy(m(x), labels))
    assert {op.underflow for op in snapshot.ops} == {None}


class Frozen(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer, self.scale = layer.requires_grad_(False), nn.Parameter(torch.ones(()))


def default_init(layer):
    model = Frozen(layer)
    return isograd.probe(model, lambda m: m.scale * 2).parameters["layer.weight"].default_init


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(64, 32),
        nn.Conv2d(8, 16, 3),
        nn.Conv1d(8, 16, 5, groups=4),
        nn.ConvTranspose2d(8, 16, 3),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_frozen_weight_looks_default_if_torch_has_just_drawn_it(layer):
    layer.reset_parameters()
    assert default_init(layer) is True
    with torch.no_grad():
        layer.weight.view(-1)[3] = 1.001 / math.sqrt(math.prod(layer.weight.shape[1:]))
    assert default_init(layer) is False


@pytest.mark.parametrize("draw", [nn.init.xavier_uniform_, nn.init.zeros_, nn.init.normal_])
def test_a_frozen_weight_of_another_draw_does_not_look_default(draw):
    layer = nn.Linear(64, 32)
    draw(layer.weight)
    assert default_init(layer) is False


def test_trained_weights_and_frozen_biases_are_not_asked():
    model = Frozen(nn.Linear(8, 8))
    model.layer.weight.requires_grad_(True)
    found = isograd.probe(model, lambda m: m.scale * m.layer(torch.ones(2, 8)).sum()).parameters
    assert {name: stats.default_init for name, stats in found.items()} == {
        "scale": None,
        "layer.weight": None,
        "layer.bias": None,
    }
