"""Factors made neutral on the same batch, against closed forms and brute force in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import isograd
from isograd.capture.neutral import neutralised
from isograd.rules import neutral as rule
from isograd.rules.case import Case
from zoo import build


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def effects(model, step, ends=None):
    snapshot = isograd.probe(model, step)
    if ends is None:
        layers = [layer.op_index for layer in snapshot.layers]
        ends = layers[0], layers[-2]  # the output layer is left out
    rows = neutralised(model, step, snapshot, *ends)
    return {(row.factor, row.held): row for row in rows}


def net(*layers):
    return nn.Sequential(*layers).double()


def regression(features=6, samples=5):
    x = torch.randn(samples, features, dtype=torch.float64)
    return lambda model: model(x).square().sum()


def slope(z):
    s = torch.sigmoid(z)
    return s * (1 - s)


def test_in_a_chain_of_neurons_the_effect_is_the_product_of_slopes_exactly():
    """dC/db_1 = s'(z_1) w_2 s'(z_2) ... : the seed's own chain."""
    layers = [m for _ in range(4) for m in (nn.Linear(1, 1), nn.Sigmoid())]
    model = net(*layers, nn.Linear(1, 1))
    x = torch.tensor([[0.7]], dtype=torch.float64)
    rows = effects(model, lambda m: m(x).square().sum())
    z, product = x, 1.0
    with torch.no_grad():
        for i in range(0, 6, 2):  # the fourth sigmoid lies behind the last hidden layer
            z = model[i](z if i == 0 else torch.sigmoid(z))
            product *= float(slope(z))
    row = rows["activation", "neutral"]
    assert row.effect == pytest.approx(math.log10(product), abs=1e-13)
    assert row.ops == 3
    assert row.names == ("sigmoid",)
    # With one entry a constant of its own size changes nothing.
    assert rows["activation", "typical"].effect == pytest.approx(0, abs=1e-13)
    weights = sum(math.log10(abs(float(model[i].weight.detach()))) for i in (2, 4, 6))
    assert row.decades == pytest.approx(weights, abs=1e-13)


class Passing(torch.autograd.Function):
    """Any function, with a constant for its derivative."""

    @staticmethod
    def forward(ctx, x, function, constant):
        ctx.constant = constant
        return function(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.constant, None, None


def brute(model, x, replaced):
    """Decades between the outputs of first and last hidden layer, with functions replaced."""
    outputs = []
    hidden = [i for i, module in enumerate(model) if isinstance(module, nn.Linear)][-2]
    for i, module in enumerate(model):
        x = replaced(module, x) if i < hidden else module(x)
        if isinstance(module, nn.Linear):
            x.retain_grad()
            outputs.append(x)
    x.square().sum().backward()
    return math.log10(float(outputs[0].grad.norm() / outputs[-2].grad.norm()))


@pytest.mark.parametrize("held", ["neutral", "typical"])
@pytest.mark.parametrize(
    ("activation", "constant"), [(nn.Tanh, 1.0), (nn.ReLU, math.sqrt(0.5)), (nn.Sigmoid, 1.0)]
)
def test_an_activation_is_what_a_straight_through_function_gives(activation, constant, held):
    model = net(*[m for _ in range(3) for m in (nn.Linear(6, 6), activation())], nn.Linear(6, 2))
    x = torch.randn(5, 6, dtype=torch.float64)

    def replaced(module, values):
        if not isinstance(module, activation):
            return module(values)
        by = constant
        if held == "typical":
            own = values.detach().requires_grad_()
            (derivative,) = torch.autograd.grad(module(own).sum(), own)
            by = float(derivative.square().mean().sqrt())
        return Passing.apply(values, module, by)

    row = effects(model, lambda m: m(x).square().sum())["activation", held]
    assert row.decades == pytest.approx(brute(model, x, replaced), abs=1e-12)
    assert row.base == pytest.approx(brute(model, x, lambda m, v: m(v)), abs=1e-12)


class RMSNorm(nn.Module):
    """Written out, as language models do."""

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


NORMS = {
    "layer": nn.LayerNorm,
    "batch": nn.BatchNorm1d,
    "group": lambda n: nn.GroupNorm(2, n),
    "rms": nn.RMSNorm,
    "by hand": lambda n: RMSNorm(),
}


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_a_norm_is_handed_past(norm):
    layers = [m for _ in range(3) for m in (nn.Linear(6, 6), norm(6), nn.Tanh())]
    model = net(*layers, nn.Linear(6, 2))
    x = torch.randn(5, 6, dtype=torch.float64)
    kind = type(model[1])

    def replaced(module, values):
        return Passing.apply(values, module, 1.0) if isinstance(module, kind) else module(values)

    row = effects(model, lambda m: m(x).square().sum())["normalization", "neutral"]
    assert row.decades == pytest.approx(brute(model, x, replaced), abs=1e-12)
    assert row.ops == 2


class Written(nn.Module):
    """Functions, methods and operators in place of modules."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 6) for _ in range(4)])

    def forward(self, x):
        for layer in self.layers:
            x = F.layer_norm(layer(x), (6,)).sigmoid()
        return x


def test_functions_count_like_modules():
    written = Written().double()
    modules = []
    for layer in written.layers:
        modules += [layer, nn.LayerNorm(6, elementwise_affine=False), nn.Sigmoid()]
    step = regression()
    ours, theirs = effects(written, step), effects(net(*modules), step)
    assert ours.keys() == theirs.keys()
    assert len(ours) == 5
    for key, row in ours.items():
        assert row.decades == pytest.approx(theirs[key].decades, abs=1e-12)
        assert row.ops == theirs[key].ops


def test_a_norm_that_is_written_out_counts_as_one():
    layers = [nn.Linear(6, 6) for _ in range(3)]
    step = regression()
    by_hand = net(*[m for layer in layers for m in (layer, RMSNorm(), nn.Tanh())])
    fused = net(*[m for layer in layers for m in (layer, nn.RMSNorm(6, eps=1e-6), nn.Tanh())])
    ours, theirs = effects(by_hand, step), effects(fused, step)
    row = ours["normalization", "neutral"]
    assert row.decades == pytest.approx(theirs["normalization", "neutral"].decades, abs=1e-9)
    assert (row.ops, row.names) == (1, ("RMSNorm",))


def test_an_op_in_place_counts_like_one_that_is_not():
    layers = [nn.Linear(6, 6) for _ in range(3)]
    step = regression()
    plain = effects(net(*[m for layer in layers for m in (layer, nn.ReLU())]), step)
    inplace = effects(net(*[m for layer in layers for m in (layer, nn.ReLU(True))]), step)
    assert plain["activation", "neutral"].decades == inplace["activation", "neutral"].decades


def test_rescaled_weights_take_exactly_their_scale_out():
    """Orthogonal weights times 0.1: a decade a layer, all of it theirs."""
    model = net(*[nn.Linear(8, 8, bias=False) for _ in range(5)])
    for layer in model:
        nn.init.orthogonal_(layer.weight, 0.1)
    row = effects(model, regression(8))["weight", "neutral"]
    assert row.base == pytest.approx(-3.0, abs=1e-12)
    assert row.decades == pytest.approx(0.0, abs=1e-12)
    assert row.share == pytest.approx(1.0)


def test_saturation_by_weights_goes_with_the_weights_and_turns_around_without_the_slope():
    layers = [m for _ in range(8) for m in (nn.Linear(64, 64), nn.Tanh())]
    model = net(*layers, nn.Linear(64, 4))
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=12 / 8)
    rows = effects(model, regression(64, 32))
    assert rows["activation", "neutral"].decades > 2 * abs(rows["weight", "neutral"].base)
    assert abs(rows["weight", "neutral"].decades) < 1


class Attention(nn.Module):
    def __init__(self, scale, fused):
        super().__init__()
        self.first, self.q, self.k = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.v = nn.Linear(8, 8)
        self.scale, self.fused = scale, fused

    def forward(self, x):
        x = self.first(x)
        q, k, v = self.scale * self.q(x), self.k(x), self.v(x)
        if self.fused:
            return F.scaled_dot_product_attention(q, k, v)
        return torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(8), -1) @ v


@pytest.mark.parametrize("fused", [True, False])
def test_attention_logits_of_unit_spread_are_those_of_a_net_that_scales_them(fused):
    model = Attention(300.0, fused).double()
    x = torch.randn(2, 6, 8, dtype=torch.float64)

    def row_of(model, factor):
        snapshot = isograd.probe(model, lambda m: m(x).square().sum())
        first = next(op.index for op in snapshot.ops if (op.module, op.name) == ("q", "linear"))
        last = max(op.index for op in snapshot.ops if op.kind == "attention")
        rows = neutralised(model, lambda m: m(x).square().sum(), snapshot, first, last + 1)
        return next((row for row in rows if row.factor == factor), None)

    with torch.no_grad():
        inner = model.first(x)
        logits = 300 * model.q(inner) @ model.k(inner).transpose(-1, -2) / math.sqrt(8)
        spread = float((logits - logits.mean(-1, keepdim=True)).square().mean().sqrt())
    row = row_of(model, "attention")
    assert row.ops == 1
    model.scale = 300.0 / spread
    # The spread was taken in float32.
    assert row.decades == pytest.approx(row_of(model, "weight").base, abs=1e-5)


class Draws(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Sigmoid(), nn.Linear(6, 6),
            nn.Tanh(), nn.Linear(6, 2),
        )  # fmt: skip

    def forward(self, x):
        return self.body(x)


def test_nothing_of_the_users_is_changed():
    model = Draws().double()
    step = regression()
    model(torch.randn(5, 6, dtype=torch.float64)).sum().backward()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    grads = [p.grad for p in model.parameters()]
    kept = [g.clone() for g in grads]
    state = torch.get_rng_state()
    assert effects(model, step)
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())
    assert all(p.grad is g for p, g in zip(model.parameters(), grads, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(kept, grads, strict=True))
    assert torch.equal(state, torch.get_rng_state())
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())


def test_the_same_numbers_each_time_and_dropout_draws_alike():
    model = Draws().double()
    step = regression()
    snapshot = isograd.probe(model, step)
    ends = snapshot.layers[0].op_index, snapshot.layers[-2].op_index
    first = neutralised(model, step, snapshot, *ends)
    assert first == neutralised(model, step, snapshot, *ends)


def test_a_step_that_runs_other_ops_the_second_time_proves_nothing():
    model = net(nn.Linear(6, 6), nn.Sigmoid(), nn.Linear(6, 6), nn.Sigmoid(), nn.Linear(6, 2))
    x, calls = torch.randn(5, 6, dtype=torch.float64), []

    def step(m):
        calls.append(1)
        inputs = x if len(calls) == 1 else m[0](x)
        return m(inputs).square().sum()

    assert effects(model, step) == {}


def test_residual_branches_are_covered():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)

        def forward(self, x):
            return x + self.down(F.gelu(self.up(self.norm(x))))

    model = net(nn.Linear(8, 8), *[Block() for _ in range(4)], nn.Linear(8, 2))
    rows = effects(model, regression(8))
    assert rows["activation", "neutral"].ops == 4
    assert rows["normalization", "neutral"].ops == 4
    assert rows["weight", "neutral"].ops == 9
    # The last block's own branch holds the last hidden layer.
    assert rows["residual", "neutral"].ops == 3


class Post(nn.Module):
    """Normalised behind the addition, with the branch written first."""

    def __init__(self, cut=False):
        super().__init__()
        self.norm, self.layer = nn.LayerNorm(8), nn.Linear(8, 8)
        self.cut = cut

    def forward(self, x):
        branch = torch.tanh(self.layer(x))
        return self.norm((branch.detach() if self.cut else branch) + x)


def test_without_branches_is_what_a_net_with_detached_ones_gives():
    model = net(nn.Linear(8, 8), *[Post() for _ in range(3)], nn.Linear(8, 8), nn.Linear(8, 2))
    step = regression(8)
    row = effects(model, step)["residual", "neutral"]
    for block in model[1:4]:
        block.cut = True
    cut = isograd.probe(model, step)
    names = [layer.module for layer in cut.layers]
    norms = {op.module: op.grad_norm for op in cut.ops if op.name == "linear" and op.on_path}
    assert row.ops == 3
    assert "4" in names
    assert row.decades == pytest.approx(math.log10(norms["0"] / norms["4"]), abs=1e-9)


def test_a_stretch_is_asked_for_where_an_alarm_is_about_the_product():
    sigmoids = [m for _ in range(8) for m in (nn.Linear(32, 32), nn.Sigmoid())]
    model = nn.Sequential(*sigmoids, nn.Linear(32, 4))
    x = torch.randn(16, 32)
    found = isograd.check(model, lambda m: m(x).square().mean())
    assert rule.stretch(found) is not None
    assert {row.factor for row in found.snapshot.neutral} == {"activation", "weight"}
    calm = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
    found = isograd.check(calm, lambda m: m(x).square().mean())
    assert rule.stretch(found) is None
    assert found.snapshot.neutral == ()


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("resnet", {"activation", "normalization", "residual", "weight"}),
        ("unet", {"activation", "normalization", "weight"}),
        ("conv_transpose_generator", {"activation", "normalization", "weight"}),
        ("transformer_post_norm_manual_softmax", {"activation", "normalization", "weight"}),
        ("nn_encoder_pre_norm", {"activation", "normalization", "weight"}),
        ("mixture_of_experts", {"activation", "normalization", "weight", "attention"}),
        ("shared_module_three_times", {"activation", "weight"}),
        ("inplace_on_a_view", {"activation", "weight"}),
        ("checkpoint_reentrant", {"activation", "weight"}),
        ("checkpoint_non_reentrant", {"activation", "weight"}),
        ("compiled_model", {"activation", "weight"}),
        ("weight_norm", {"activation", "weight"}),
        ("elman_loop", {"activation", "weight"}),
        ("lstm_deep_bidirectional_dropout", {"weight"}),
        ("complex_weights", {"weight"}),
    ],
)
@pytest.mark.filterwarnings("ignore:.*use_reentrant:UserWarning")
def test_all_kinds_of_nets_are_covered(name, kinds):
    model, step = build(name, torch.float64)
    snapshot = isograd.probe(model, step)
    hidden = Case(snapshot).hidden
    before = {key: value.clone() for key, value in model.state_dict().items()}
    rows = neutralised(model, step, snapshot, hidden.first.op_index, hidden.last.op_index)
    assert {row.factor for row in rows} == kinds
    for row in rows:
        if "dropout" not in name:
            assert row.base == pytest.approx(hidden.decades, abs=1e-9)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_fault_of_ours_is_a_warning_and_the_verdict_stands(monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr("isograd.capture.neutral.neutralised", broken)
    layers = [m for _ in range(8) for m in (nn.Linear(32, 32), nn.Sigmoid())]
    x = torch.randn(16, 32)
    with pytest.warns(RuntimeWarning, match="ZeroDivisionError: of ours"):
        found = isograd.check(nn.Sequential(*layers), lambda m: m(x).square().mean())
    assert any(f.code == "G101" for f in found.findings)
