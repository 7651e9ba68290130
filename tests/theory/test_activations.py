"""Names, functions and derivatives; torch is the oracle for both."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from isograd.errors import IsogradError
from isograd.theory.activation import from_function
from isograd.theory.activations import UnknownActivationError, get, known
from isograd.theory.moments import mean_square, mean_square_derivative

TORCH = {
    "linear": lambda z: z * 1.0,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "prelu": lambda z: F.prelu(z, torch.tensor([0.25], dtype=z.dtype)),
    "relu6": F.relu6,
    "squared_relu": lambda z: F.relu(z) ** 2,
    "elu": F.elu,
    "celu": F.celu,
    "selu": F.selu,
    "gelu": F.gelu,
    "gelu_tanh": lambda z: F.gelu(z, approximate="tanh"),
    "quick_gelu": lambda z: z * torch.sigmoid(1.702 * z),
    "silu": F.silu,
    "mish": F.mish,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "sigmoid": torch.sigmoid,
    "logsigmoid": F.logsigmoid,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "tanhshrink": F.tanhshrink,
    "softshrink": F.softshrink,
    "hardtanh": F.hardtanh,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "sin": torch.sin,
    "exp": torch.exp,
}


def test_every_known_name_has_an_oracle():
    assert set(known()) == set(TORCH)


@pytest.mark.parametrize("name", sorted(TORCH))
def test_function_and_derivative_are_torchs(name):
    # Irrational points: no kink among them.
    z = torch.linspace(-9, 9, 181, dtype=torch.float64) * math.sqrt(1.21) + 0.0123
    z.requires_grad_()
    value = TORCH[name](z)
    (slope,) = torch.autograd.grad(value.sum(), z)
    record, points = get(name), z.detach().numpy()
    # torch's softplus is the identity above 20; its hardsigmoid has 1/6 in float32.
    tolerance = 1e-7 if name == "hardsigmoid" else 1e-8
    np.testing.assert_allclose(record.function(points), value.detach().numpy(), 1e-8, 1e-13)
    np.testing.assert_allclose(record.derivative(points), slope.numpy(), tolerance, 1e-13)


@pytest.mark.parametrize("name", sorted(TORCH))
def test_no_argument_overflows(name):
    z = np.array([-1e12, -800.0, -30.0, 0.0, 30.0, 800.0, 1e12])
    if name == "exp":
        z = z[z < 700]
    record = get(name)
    assert np.isfinite(record.function(z)).all()  # a warning is an error in the suite
    assert np.isfinite(record.derivative(z)).all()


@pytest.mark.parametrize("name", sorted(TORCH))
def test_kinks_are_where_a_search_finds_them(name):
    record = get(name)
    searched = from_function(record.function).kinks
    # Jumps of the second derivative are located to 1e-4; exp is too steep for the search's limit.
    assert searched == pytest.approx(record.kinks, abs=2e-4)


@pytest.mark.parametrize("name", sorted(TORCH))
@pytest.mark.parametrize("q", [0.3, 1.0, 7.0])
def test_a_bare_function_gives_the_named_ones_moments(name, q):
    record = get(name)
    bare = get(record.function)
    assert mean_square(bare, q) == pytest.approx(mean_square(record, q), rel=1e-10)
    # The derivative is a difference here.
    expected = mean_square_derivative(record, q)
    assert mean_square_derivative(bare, q) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("ReLU", "relu"),
        ("LeakyReLU", "leaky_relu"),
        ("GELU", "gelu"),
        ("SiLU", "silu"),
        ("swish", "silu"),
        ("Hardtanh", "hardtanh"),
        ("LogSigmoid", "logsigmoid"),
        ("identity", "linear"),
        ("gelu_pytorch_tanh", "gelu_tanh"),
    ],
)
def test_aliases(alias, name):
    assert get(alias).name == name


def test_every_torch_class_name_of_a_known_activation_works():
    for module in (nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.Mish, nn.Softplus, nn.Softsign):
        assert get(module.__name__).name == module.__name__.lower()


def test_parameters_reach_the_function():
    z = np.array([-2.0, -0.3, 1.0])
    assert get("leaky_relu", slope=0.2).function(z).tolist() == [-0.4, -0.06, 1.0]
    assert get("LeakyReLU", negative_slope=0.2).label == "leaky_relu(slope=0.2)"
    tz = torch.tensor(z)
    for name, key, value, oracle in [
        ("elu", "alpha", 0.4, F.elu),
        ("celu", "alpha", 0.4, F.celu),
        ("softplus", "beta", 3.0, F.softplus),
        ("softshrink", "lambd", 0.2, F.softshrink),
    ]:
        expected = oracle(tz, **{key: value}).numpy()
        np.testing.assert_allclose(get(name, **{key: value}).function(z), expected, 1e-12)


def test_an_unknown_name_lists_the_known_and_the_nearest():
    with pytest.raises(UnknownActivationError) as caught:
        get("leakyrelo")
    assert isinstance(caught.value, IsogradError)
    assert isinstance(caught.value, ValueError)
    assert str(caught.value).startswith(
        "no activation is called 'leakyrelo'. Did you mean 'leaky_relu'?"
    )
    assert "celu, elu" in str(caught.value)


def test_a_wrong_parameter_names_the_right_ones():
    with pytest.raises(UnknownActivationError, match="takes no parameter alpha") as caught:
        get("leaky_relu", alpha=0.1)
    assert "it takes: slope" in str(caught.value)


def test_what_is_no_activation_is_refused():
    with pytest.raises(TypeError, match="a name or a function"):
        get(3.0)
    for scalar in (math.tanh, torch.tanh):
        with pytest.raises(ValueError, match="`tanh` does not take a numpy array"):
            get(scalar)
    with pytest.raises(ValueError, match="same shape"):
        get(lambda z: z.sum())
    with pytest.raises(ValueError, match="finite"):
        get(lambda z: z * np.nan)


def test_homogeneity_of_a_bare_function_is_seen():
    assert get(lambda z: np.where(z > 0, 2 * z, -0.1 * z)).homogeneous
    assert not get(lambda z: np.where(z > 0, z, np.tanh(z))).homogeneous
