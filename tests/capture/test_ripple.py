"""The ripple against autograd's own reverse mode, finite differences and closed forms."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from isograd.capture import directions
from isograd.capture.ripple import ripple
from isograd.errors import ModelError, StepError
from isograd.records.ripple import Ripple
from zoo import CASES, FLOAT32_ONLY, WARNINGS, build

# Forward and reverse mode differ by rounding only; differenced ops add theirs.
FORWARD_REVERSE = 1e-10
DIFFERENCES = 1e-6
# The gradient is not the derivative here, on purpose of the case.
NOT_THE_DERIVATIVE = {"custom_autograd_function", "user_gradient_hook", "user_backward_hook"}
# Differences see through `detach`, derivatives do not.
CUT_FOR_DERIVATIVES = {"inplace_on_a_view"}


def zoo(*, float64: bool) -> pytest.MarkDecorator:
    params = []
    for name in CASES:
        if float64 and name in FLOAT32_ONLY:
            continue
        marks = [pytest.mark.filterwarnings(text) for text in WARNINGS.get(name, ())]
        params.append(pytest.param(name, marks=marks))
    return pytest.mark.parametrize("name", params)


@zoo(float64=True)
def test_forward_mode_agrees_with_the_gradient_and_with_differences(name):
    model, step = build(name, torch.float64)
    found = ripple(model, step)
    assert found.links
    assert found.gradient is not None
    assert found.finite_difference is not None
    if name not in NOT_THE_DERIVATIVE:
        # Hugging Face computes softmax, norms and losses in float32 whatever the model is in.
        exact = 1e-6 if name.startswith("huggingface") else FORWARD_REVERSE
        if any(link.method == "difference" for link in found.links):
            exact = 1e-8  # the extrapolated differences of that op
        assert found.directional_derivative == pytest.approx(found.gradient, rel=exact, abs=1e-14)
    if name not in CUT_FOR_DERIVATIVES:
        assert found.directional_derivative == pytest.approx(
            found.finite_difference, rel=DIFFERENCES, abs=1e-9
        )
    assert all(link.method != "run" for link in found.links)


@zoo(float64=False)
def test_leaves_everything_as_it_was(name):
    model, step = build(name)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.rand_like(parameter)
    grads = [p.grad for p in model.parameters()]
    before = copy.deepcopy(model.state_dict())
    versions = [t._version for t in [*model.parameters(), *model.buffers()]]
    random, modes = torch.get_rng_state(), [m.training for m in model.modules()]
    apply = torch.autograd.Function.__dict__["apply"]
    ripple(model, step)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert [t._version for t in [*model.parameters(), *model.buffers()]] == versions
    assert all(a is p.grad for a, p in zip(grads, model.parameters(), strict=True))
    assert torch.equal(random, torch.get_rng_state())
    assert [m.training for m in model.modules()] == modes
    assert torch.autograd.Function.__dict__["apply"] is apply


def neurons(depth=4, w=0.8):
    """The chain of neurons a_j = s(w a_{j-1} + b_j), in float64."""
    model = nn.Sequential()
    for _ in range(depth):
        layer = nn.Linear(1, 1).double()
        nn.init.constant_(layer.weight, w)
        nn.init.constant_(layer.bias, 0.1)
        model.extend([layer, nn.Sigmoid()])
    return model, lambda m: m(torch.full((1, 1), 0.5, dtype=torch.float64)).square().sum() / 2


def test_a_chain_of_neurons_multiplies_its_slopes_and_weights():
    """db1 -> dz1 -> da1 -> dz2 -> ... -> dC, in closed form."""
    model, step = neurons()
    found = ripple(model, step, "0.bias", 0)
    expected, change, a = [], 1.0, 0.5
    for j in range(4):
        z = 0.8 * a + 0.1
        change *= 0.8 if j else 1.0
        expected.append(change)
        a = 1 / (1 + math.exp(-z))
        change *= a * (1 - a)
        expected.append(change)
    change *= a
    assert [link.norm_of_change for link in found.links[:8]] == pytest.approx(expected, rel=1e-12)
    assert [link.op for link in found.links[:4]] == ["linear", "sigmoid", "linear", "sigmoid"]
    assert found.directional_derivative == pytest.approx(change, rel=1e-12)
    assert math.prod(link.gain for link in found.links) == pytest.approx(change, rel=1e-12)
    assert sum(link.decades for link in found.links) == pytest.approx(math.log10(change))


def test_links_carry_module_line_kind_and_shape():
    model, step = neurons()
    link = ripple(model, step, "0.bias").links[1]
    assert (link.op, link.module, link.kind, link.shape) == ("sigmoid", "1", "activation", (1, 1))
    assert "test_ripple.py:" in link.source


def test_a_given_direction_and_an_entry_agree_with_the_gradient():
    model, step = build("mlp_tanh", torch.float64)
    weight = model[0].weight
    torch.manual_seed(3)
    way = torch.randn_like(weight)
    (gradient,) = torch.autograd.grad(step(model), weight)
    found = ripple(model, step, "0.weight", direction=way)
    assert found.directional_derivative == pytest.approx(float((gradient * way).sum()), rel=1e-10)
    entry = ripple(model, step, "0.weight", (2, -1))
    assert entry.index == (2, 19)
    assert entry.directional_derivative == pytest.approx(float(gradient[2, -1]), rel=1e-10)
    assert ripple(model, step, "0.weight", 59).index == (2, 19)


def test_by_default_the_derivative_is_the_norm_of_the_gradient():
    model, step = build("mlp_tanh", torch.float64)
    found = ripple(model, step)
    (gradient,) = torch.autograd.grad(step(model), model[0].bias)
    assert found.parameter == "0.bias"
    assert found.directional_derivative == pytest.approx(float(gradient.norm()), rel=1e-12)
    assert "`0.bias` was chosen" in found.notes[0]


def test_a_frozen_parameter_ripples_without_a_gradient():
    model, step = build("frozen_layers", torch.float64)
    found = ripple(model, step, "2.bias")
    assert found.gradient is None
    assert found.directional_derivative == pytest.approx(found.finite_difference, rel=1e-6)
    assert not model[2].bias.requires_grad


def test_only_ops_that_the_change_reaches_are_links():
    model, step = build("mlp_tanh", torch.float64)
    first, last = ripple(model, step, "0.bias"), ripple(model, step, "4.bias")
    assert [link.op for link in last.links] == ["linear", "cross_entropy"]
    assert len(first.links) - len(last.links) == last.unreached - first.unreached == 4


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        return 3 * ctx.saved_tensors[0] ** 2 * grad


def test_a_custom_function_without_jvp_is_differenced_alone():
    linear, x = nn.Linear(3, 4).double(), torch.randn(5, 3, dtype=torch.float64)
    found = ripple(linear, lambda m: Cube.apply(m(x)).mean())
    assert [(link.op, link.method) for link in found.links] == [
        ("linear", "forward"), ("Cube", "difference"), ("mean", "forward"),
    ]  # fmt: skip
    assert found.directional_derivative == pytest.approx(found.gradient, rel=FORWARD_REVERSE)


class Opaque(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        return grad * 2

    @staticmethod
    def jvp(ctx, x):
        raise NotImplementedError("no forward mode AD for this one")


def test_where_forward_mode_fails_the_whole_step_is_differenced():
    linear, x = nn.Linear(3, 4).double(), torch.randn(5, 3, dtype=torch.float64)
    found = ripple(linear, lambda m: Opaque.apply(m(x)).square().mean())
    assert {link.method for link in found.links} == {"run"}
    assert found.directional_derivative == pytest.approx(found.gradient, rel=1e-7)
    assert any("whole step was differenced" in note for note in found.notes)


def test_dropout_draws_the_same_numbers_in_all_runs():
    model, step = build("mlp_dropout")
    found = ripple(model, step)
    assert found.finite_difference == pytest.approx(found.gradient, rel=1e-4)


def test_a_step_that_never_repeats_has_no_finite_difference():
    model, x, calls = nn.Linear(2, 1).double(), torch.randn(4, 2, dtype=torch.float64), []

    def step(model):
        calls.append(0)
        return (model(x) * len(calls)).square().mean()

    found = ripple(model, step)
    assert found.finite_difference is None
    assert any("two losses" in note for note in found.notes)


def test_the_place_where_the_path_ends_is_named():
    model = nn.Linear(3, 4).double()
    x = torch.randn(5, 3, dtype=torch.float64)
    found = ripple(model, lambda m: (m(x) * m(x).detach()).mean())
    assert [end.op for end in found.ends] == ["detach"]
    assert "test_ripple.py:" in found.ends[0].source


def test_a_ripple_survives_json():
    model, step = neurons()
    found = ripple(model, step, verify=True)
    assert Ripple.from_dict(found.to_dict()) == found


def test_errors_name_near_parameters_and_the_shape():
    model, step = build("mlp_tanh")
    with pytest.raises(ModelError) as caught:
        ripple(model, step, "0.bais")
    assert "near names   0.bias" in str(caught.value)
    assert "parameters   0.weight, 0.bias, 2.weight" in str(caught.value)
    with pytest.raises(ModelError, match=r"no entry 32: its shape is \(32,\)"):
        ripple(model, step, "0.bias", 32)
    with pytest.raises(ModelError, match=r"no entry 0, 0, 0: its shape is \(32, 20\)"):
        ripple(model, step, "0.weight", (0, 0, 0))
    with pytest.raises(ModelError, match="has no parameters"):
        ripple(nn.ReLU(), step)
    with pytest.raises(StepError, match="raised ZeroDivisionError"):
        ripple(model, lambda m: 1 / 0)


def test_a_step_that_trains_is_refused_and_undone():
    model = nn.Linear(2, 1)
    before = model.weight.detach().clone()

    def trains(model):
        loss = model(torch.ones(3, 2)).mean()
        torch.optim.SGD(model.parameters(), 0.1).zero_grad()
        with torch.no_grad():
            model.weight.sub_(1.0)
        return loss

    with pytest.raises(StepError, match="changes the model"):
        ripple(model, trains)
    assert torch.equal(model.weight, before)


def test_the_default_parameter_is_a_bias_with_more_than_rounding_in_its_gradient():
    grads = {"a.bias": torch.full((2,), 1e-18), "w": torch.ones(2), "b.bias": torch.ones(2)}
    assert directions.default_parameter(grads) == "b.bias"
    assert directions.default_parameter({"w": None}) == "w"


def test_tied_weights_move_together():
    model = nn.ModuleDict({"a": nn.Linear(3, 3, bias=False), "b": nn.Linear(3, 3, bias=False)})
    model.double()["b"].weight = model["a"].weight
    x = torch.randn(4, 3, dtype=torch.float64)
    found = ripple(model, lambda m: F.mse_loss(m["b"](m["a"](x).tanh()), x), "b.weight")
    assert found.directional_derivative == pytest.approx(found.gradient, rel=1e-12)
    assert found.directional_derivative == pytest.approx(found.finite_difference, rel=1e-7)
