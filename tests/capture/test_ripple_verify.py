"""The check of gradients: finds what is wrong, names it, and does not cry wolf."""

import copy

import pytest
import torch
from torch import nn

from isograd.capture.derivative import derivative
from isograd.capture.ripple_locate import op_error
from isograd.capture.ripple_verify import verify
from isograd.errors import StepError
from zoo import CASES, WARNINGS, build

# Their gradient is not the derivative of the loss, on purpose; and the reason that is found.
MEANT = {
    "detached_branch": "cut",
    "no_grad_teacher": "cut",
    "inplace_on_a_view": "cut",
    "custom_autograd_function": "backward",
    "user_gradient_hook": "hook",
    "user_backward_hook": "hook",
}


def cases():
    for name in CASES:
        marks = [pytest.mark.filterwarnings(text) for text in WARNINGS.get(name, ())]
        yield pytest.param(name, marks=marks)


@pytest.mark.parametrize("name", list(cases()))
def test_every_gradient_of_the_zoo_agrees_unless_it_is_meant_not_to(name):
    model, step = build(name)
    before = copy.deepcopy(model.state_dict())
    found = verify(model, step)
    assert found.on_copy
    assert found.ok is (name not in MEANT)
    assert "unresolved" not in {check.verdict for check in found.checks}
    if name in MEANT:
        assert MEANT[name] in {suspect.reason for suspect in found.suspects}
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


class Tanh(torch.autograd.Function):
    """tanh(x) * scale, with a backward that can be wrong."""

    fault = "none"

    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x, scale)
        return x.tanh() * scale

    @staticmethod
    def backward(ctx, grad):
        x, scale = ctx.saved_tensors
        dx = grad * scale * (1 - x.tanh() ** 2)
        dscale = (grad * x.tanh()).sum()
        if Tanh.fault == "factor":
            dx = 1.01 * dx
        elif Tanh.fault == "sign":
            dx = -dx
        elif Tanh.fault == "term":
            dscale = None
        return dx, dscale


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, x):
        return self.last(Tanh.apply(self.first(x), self.scale))


@pytest.mark.parametrize(
    ("fault", "wrong"),
    [
        ("none", set()),
        ("factor", {"first.weight", "first.bias"}),
        ("sign", {"first.weight", "first.bias"}),
        ("term", {"scale"}),
    ],
)
def test_a_wrong_backward_is_found_with_its_parameters_and_its_line(fault, wrong, monkeypatch):
    monkeypatch.setattr(Tanh, "fault", fault)
    torch.manual_seed(0)
    model, x = Net(), torch.randn(5, 6)
    found = verify(model, lambda m: m(x).square().mean())
    assert {c.parameter for c in found.checks if c.verdict == "disagrees"} == wrong
    if wrong:
        (suspect,) = found.suspects
        assert (suspect.op, suspect.reason) == ("Tanh", "backward")
        assert "test_ripple_verify.py:" in suspect.source
    else:
        assert not found.suspects


def test_a_factor_of_one_percent_is_measured_as_such(monkeypatch):
    monkeypatch.setattr(Tanh, "fault", "factor")
    torch.manual_seed(0)
    model, x = Net(), torch.randn(5, 6)
    check = verify(model, lambda m: m(x).square().mean()).checks[1]
    assert check.relative_error == pytest.approx(0.01 / 1.01, rel=1e-6)


def test_a_detached_path_is_found_with_its_line():
    model, x = nn.Linear(3, 4), torch.randn(5, 3)
    found = verify(model, lambda m: (m(x) * m(x).detach()).mean())
    assert not found.ok
    assert [(s.op, s.reason) for s in found.suspects] == [("detach", "cut")]


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Hardtanh(0, 1), nn.LeakyReLU(0.2)])
def test_a_kink_is_no_disagreement(activation):
    """All pre-activations are exactly 0, where these have no derivative."""
    torch.manual_seed(0)
    first, last = nn.Linear(6, 8), nn.Linear(8, 1)
    nn.init.zeros_(first.weight)
    nn.init.zeros_(first.bias)
    model, x = nn.Sequential(first, activation, last), torch.randn(5, 6)
    found = verify(model, lambda m: m(x).square().mean())
    verdicts = {check.parameter: check.verdict for check in found.checks}
    assert found.ok
    assert verdicts["0.bias"] == "kink"
    assert verdicts["2.bias"] == "agrees"


def test_a_tie_in_a_maximum_is_no_disagreement():
    model = nn.Linear(3, 4)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    x = torch.randn(5, 3)
    found = verify(model, lambda m: m(x).max(-1).values.mean())
    assert found.ok
    assert "kink" in {check.verdict for check in found.checks}


def test_a_wrong_backward_at_a_kink_is_still_wrong(monkeypatch):
    monkeypatch.setattr(Tanh, "fault", "sign")
    model, x = Net(), torch.randn(5, 6)
    nn.init.zeros_(model.first.weight)
    nn.init.zeros_(model.first.bias)
    found = verify(model, lambda m: m(x).relu().square().mean())
    assert not found.ok


def test_frozen_parameters_are_not_compared():
    model, step = build("frozen_layers")
    found = verify(model, step)
    assert {c.parameter for c in found.checks if c.verdict == "frozen"} == {"2.weight", "2.bias"}


def test_a_step_that_insists_on_float32_is_checked_in_float32():
    model, x = nn.Linear(3, 4), torch.randn(5, 3)

    def step(model):
        assert model.weight.dtype == torch.float32
        return model(x).square().mean()

    found = verify(model, step)
    assert (found.dtype, found.on_copy, found.ok) == ("float32", False, True)
    assert "float32" in found.notes[0]


def test_a_step_that_never_repeats_is_refused():
    model, x, calls = nn.Linear(2, 1), torch.randn(4, 2), []

    def step(model):
        calls.append(0)
        return (model(x) * len(calls)).square().mean()

    with pytest.raises(StepError, match="two losses"):
        verify(model, step)


def test_one_op_alone():
    x = torch.randn(4, dtype=torch.float64, requires_grad=True)
    assert op_error(torch.exp, (x,), {}) < 1e-8
    assert op_error(lambda t: t * t.detach(), (x,), {}) == pytest.approx(0.5, rel=1e-6)


def test_the_derivative_knows_its_own_error():
    found = derivative(lambda t: 3 * t + t**3, 1.0)
    assert abs(found.value - 3) <= found.uncertainty < 1e-8
    kink = derivative(abs, 1.0)
    assert (kink.right, kink.left) == pytest.approx((1, -1))
