"""Fixes of activations, norms, connections and attention."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fix_cases import CLASSES, carried_out, case_of, chain_decades, classes, mlp, proposals
from isograd.fixes.catalogue.tailored import correlation, tailored_slope


def test_activations_are_swapped_in_modules_and_calls():
    case = case_of(mlp(nn.Sigmoid), classes(32))
    assert proposals("activation", case)[0].parameters["to"] == "relu"
    setup, _ = carried_out("activation", case)
    assert not any(isinstance(m, nn.Sigmoid) for m in setup.model.modules())
    assert sum(isinstance(m, nn.ReLU) for m in setup.model.modules()) == 6
    assert proposals("activation", case_of(mlp(nn.ReLU), classes(32))) == []


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, CLASSES)

    def forward(self, x):
        gate = torch.sigmoid(x[:, :1])
        return self.b(torch.sigmoid(self.a(x))) * gate


def test_a_functional_call_is_changed_at_its_line_only():
    torch.manual_seed(0)
    case = case_of(Functional(), classes(8))
    lines = proposals("activation", case)[0].parameters["lines"]
    assert len(lines) == 1
    setup, _ = carried_out("activation", case)
    x = torch.randn(5, 8)
    a, b = setup.model.a, setup.model.b
    expected = b(torch.relu(a(x))) * torch.sigmoid(x[:, :1])
    assert torch.equal(setup.model(x), expected)
    # The user's model, and calls outside of a forward, are as they were.
    assert torch.equal(
        case.setup.model(x),
        case.setup.model.b(torch.sigmoid(case.setup.model.a(x))) * torch.sigmoid(x[:, :1]),
    )


def test_a_leaky_slope_leaves_the_weights():
    model = mlp(nn.ReLU)
    nn.init.constant_(model[2].bias, -9.0)
    case = case_of(model, classes(32), code="dead-units")
    setup, _ = carried_out("leaky-slope", case)
    assert all(
        torch.equal(a, b) for a, b in zip(setup.model.parameters(), model.parameters(), strict=True)
    )
    assert float(setup.model[1](torch.tensor(-1.0))) == pytest.approx(-0.1)
    assert proposals("leaky-slope", case_of(mlp(nn.Tanh), classes(32), code="dead-units")) == []


def test_the_tailored_slope_solves_its_equation():
    assert correlation(tailored_slope(20), 20) == pytest.approx(0.9, abs=1e-9)
    assert tailored_slope(1) == 0
    assert tailored_slope(100) > tailored_slope(20) > 0


def test_the_correlation_map_is_that_of_random_layers():
    """Two orthogonal inputs through wide random layers of leaky ReLU at gain 1."""
    torch.manual_seed(0)
    width, slope, depth = 2000, 0.3, 4
    x = torch.linalg.qr(torch.randn(width, 2, dtype=torch.float64))[0].T * math.sqrt(width)
    for _ in range(depth):
        weight = torch.randn(width, width, dtype=torch.float64)
        x = F.leaky_relu(x @ weight.T * math.sqrt(2 / (1 + slope**2) / width), slope)
    # The kernel of the next layer's input is the correlation of these activations.
    measured = float(F.cosine_similarity(x[0], x[1], dim=0))
    assert measured == pytest.approx(correlation(slope, depth), abs=4 / math.sqrt(width))


def test_the_tailored_net_keeps_its_gradient_and_its_inputs_apart():
    case = case_of(mlp(nn.Tanh, 20, 64), classes(64))
    setup, proposal = carried_out("tailored-activation", case)
    assert setup.model[1].negative_slope == pytest.approx(tailored_slope(20), rel=5e-3)
    assert abs(chain_decades(setup) - proposal.predicted) < 1
    assert proposals("tailored-activation", case_of(mlp(nn.ReLU), classes(32))) == []


def test_a_norm_goes_behind_each_hidden_layer_and_into_the_optimizer():
    model = mlp(nn.Tanh, 4)
    case = case_of(
        model, classes(32), torch.optim.SGD(model.parameters(), 0.1), code="weight-scale"
    )
    setup, _ = carried_out("add-norm", case)
    norms = [m for m in setup.model.modules() if isinstance(m, nn.LayerNorm)]
    assert len(norms) == 4
    held = {id(p) for g in setup.optimizer.param_groups for p in g["params"]}
    assert {id(p) for p in setup.model.parameters()} == held
    out = setup.model[:1](torch.randn(9, 32))
    assert out.mean(1).abs().max().item() == pytest.approx(0, abs=1e-6)
    setup.iterate()
    again = case_of(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4)), classes(4))
    assert proposals("add-norm", again) == []


def test_convolutions_get_batch_norm():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, CLASSES))
    case = case_of(model, classes(3, 6, 6), code="weight-scale")
    setup, _ = carried_out("add-norm", case)
    assert [type(m).__name__ for m in setup.model[0]] == ["Conv2d", "BatchNorm2d"]
    assert isinstance(setup.model[3], nn.Linear)


def test_residual_connections_add_the_input_where_the_shape_stays():
    model = mlp(nn.Tanh, 3)
    setup, proposal = carried_out("residual-connection", case_of(model, classes(32)))
    assert proposal.parameters["layers"] == ["0", "2", "4"]
    x = torch.randn(4, 32)
    assert torch.allclose(setup.model[0](x), x + F.linear(x, model[0].weight, model[0].bias))
    assert torch.equal(model[0](x), F.linear(x, model[0].weight, model[0].bias))
    torch.manual_seed(0)
    narrow = nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))
    assert proposals("residual-connection", case_of(narrow, classes(8))) == []


def test_pre_norm_is_switched_on_in_torch_layers():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True),
        nn.Flatten(),
        nn.Linear(40, CLASSES),
    )
    case = case_of(model, classes(5, 8, rows=8), code="G111")
    setup, _ = carried_out("pre-norm", case)
    layer, x = setup.model[0], torch.randn(2, 5, 8)
    y = x + layer._sa_block(layer.norm1(x), None, None)
    assert torch.allclose(layer(x), y + layer._ff_block(layer.norm2(y)), atol=1e-6)
    assert proposals("pre-norm", case_of(mlp(), classes(32), code="G111")) == []


class Attention(nn.Module):
    def __init__(self, scale, masked=False):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))
        self.head, self.scale, self.masked = nn.Linear(16, CLASSES), scale, masked

    def forward(self, x):
        logits = self.q(x) @ self.k(x).transpose(-2, -1) * self.scale
        if self.masked:
            mask = torch.zeros(6, 6, dtype=torch.bool)
            mask[0] = True
            logits = logits.masked_fill(mask, float("-inf"))
        return self.head((torch.softmax(logits, dim=-1) @ self.v(x)).mean(1))


def attention_case(scale=30.0, **more):
    torch.manual_seed(0)
    return case_of(Attention(scale, **more), classes(6, 16, rows=8), code="G106")


def attended(model, x):
    return torch.softmax(model.q(x) @ model.k(x).transpose(-2, -1) * model.scale, -1)


def test_attention_logits_are_divided_by_root_d():
    case = attention_case()
    setup, proposal = carried_out("attention-scale", case)
    # 1 / sqrt(16) in all, in place of the 30 that is there; said with four digits.
    assert proposal.parameters["factor"] == pytest.approx(1 / 4 / 30, rel=1e-3)
    x = torch.randn(2, 6, 16)
    model = case.setup.model
    weights = torch.softmax(model.q(x) @ model.k(x).transpose(-2, -1) / 4, -1)
    assert torch.allclose(setup.model(x), model.head((weights @ model.v(x)).mean(1)), atol=1e-4)
    assert proposals("attention-scale", case_of(mlp(), classes(32), code="G106")) == []


def test_a_soft_cap_bounds_the_logits_and_keeps_small_ones():
    case = attention_case()
    setup, _ = carried_out("logit-soft-cap", case)
    seen = []
    original = torch.softmax

    class Spy(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func is original:
                seen.append(args[0].detach())
            return func(*args, **(kwargs or {}))

    with Spy():
        setup.step(setup.model)
    assert float(seen[0].abs().max()) <= 30
    assert proposals("logit-soft-cap", attention_case(0.01)) == []


def test_queries_and_keys_of_unit_length_bound_the_logits():
    case = attention_case(1.0)
    setup, proposal = carried_out("qk-norm", case)
    x = torch.randn(2, 6, 16)
    model = case.setup.model
    cosine = F.normalize(model.q(x), dim=-1) @ F.normalize(model.k(x), dim=-1).transpose(-2, -1)
    weights = torch.softmax(proposal.parameters["factor"] * cosine, -1)
    assert torch.allclose(setup.model(x), model.head((weights @ model.v(x)).mean(1)), atol=1e-5)
    assert proposal.parameters["factor"] == 4


def test_a_row_that_is_masked_as_a_whole_is_uniform_and_has_a_gradient():
    case = attention_case(1.0, masked=True)
    assert case.setup.model(torch.randn(1, 6, 16)).isnan().all()
    setup, _ = carried_out("mask-floor", case)
    out = setup.model(torch.randn(2, 6, 16))
    assert torch.isfinite(out).all()
    grads = torch.autograd.grad(out.sum(), list(setup.model.parameters()))
    assert all(torch.isfinite(g).all() for g in grads)
    assert proposals("mask-floor", attention_case(1.0)) == []


def test_norms_get_a_small_eps_and_a_gain():
    model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8, eps=10.0), nn.Linear(8, CLASSES))
    nn.init.zeros_(model[1].weight)
    setup, _ = carried_out("norm-settings", case_of(model, classes(8), code="normalization"))
    assert setup.model[1].eps == 1e-5
    assert bool((setup.model[1].weight == 1).all())
    good = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, CLASSES))
    assert proposals("norm-settings", case_of(good, classes(8), code="normalization")) == []


def test_strong_dropout_is_weakened_and_weak_dropout_is_not():
    model = nn.Sequential(
        nn.Linear(8, 8), nn.Dropout(0.95), nn.Linear(8, 8), nn.Dropout(0.2), nn.Linear(8, CLASSES)
    )
    setup, _ = carried_out("dropout", case_of(model, classes(8), code="G310"))
    assert (setup.model[1].p, setup.model[3].p) == (0.1, 0.2)
    assert proposals("dropout", case_of(mlp(), classes(32), code="G310")) == []


def test_an_activation_in_front_of_the_loss_is_left_out():
    model = mlp(nn.ReLU, 2)
    model.append(nn.Softmax(-1))
    setup, _ = carried_out("output-activation", case_of(model, classes(32), code="loss-head"))
    x = torch.randn(3, 32)
    assert torch.equal(setup.model(x), model[:-1](x))
    assert proposals("output-activation", case_of(mlp(), classes(32), code="loss-head")) == []
