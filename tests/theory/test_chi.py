"""The gain of the gradient per layer against published values."""

import math

import numpy as np
import pytest

from isograd.theory.chi import chi_1, chi_2, gain_per_layer, gain_squared, moment_ratio
from isograd.theory.edge import edge_of_chaos, edge_of_chaos_bias
from isograd.theory.moments import mean_square, mean_square_derivative, variance
from isograd.theory.qmap import q_trajectory


def test_nielsens_net_slows_down_by_the_published_gains():
    """Sigmoid, weights N(0, 1/n), biases N(0, 1); ratios of last to first hidden layer."""
    q = q_trajectory(1.112, 2, "sigmoid", 1.0, 1.0)
    gains = [gain_per_layer("sigmoid", 1.0, each) for each in q]
    assert gains == pytest.approx([0.20904, 0.20495, 0.20484], abs=5e-6)
    ratios = 1 / np.cumprod(gains)
    assert ratios == pytest.approx([4.784, 23.34, 113.9], rel=5e-4)


@pytest.mark.parametrize("sigma_w", [0.3, 1.0, 2**0.5, 3.0])
@pytest.mark.parametrize("q", [1e-6, 1.0, 1e6])
def test_relu_has_half_the_weight_variance_at_every_q(sigma_w, q):
    assert chi_1("relu", sigma_w, q) == pytest.approx(sigma_w**2 / 2, rel=1e-15)
    assert gain_squared("relu", sigma_w, q) == chi_1("relu", sigma_w, q)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("relu", 1 / 6), ("gelu", 1 / 12), ("silu", 1 / 12), ("tanh", 1 / 3)],
)
def test_pytorchs_default_weights_in_the_limit_of_a_vanishing_signal(name, expected):
    assert chi_1(name, math.sqrt(1 / 3), 0.0) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("relu", 1.0),
        ("tanh", 1.177807),
        ("gelu", 1.072032),
        ("silu", 1.066634),
        ("elu", 1.035905),
        ("selu", 1.071575),
        ("sigmoid", 0.152827),
    ],
)
def test_ratio_of_backward_to_forward_at_unit_variance(name, expected):
    ratio = mean_square_derivative(name) / mean_square(name)
    assert ratio == pytest.approx(expected, abs=6e-7)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("relu", math.pi / (math.pi - 1)),
        ("gelu", 1.318845),
        ("silu", 1.212081),
        ("tanh", 1.177807),
        ("sigmoid", 1.033592),
    ],
)
def test_ratio_of_backward_to_centred_forward_at_unit_variance(name, expected):
    """The gain^2 of batch normalisation at large batches (Yang et al., 2019)."""
    assert mean_square_derivative(name) / variance(name) == pytest.approx(expected, abs=6e-7)


def test_penningtons_critical_tanh_nets():
    """(sigma_w^2, sigma_b^2) = (1.05, 2.01e-5) is on the edge (Pennington et al., 2017)."""
    near = edge_of_chaos_bias("tanh", math.sqrt(1.05))
    assert near.sigma_b**2 == pytest.approx(2.01e-5, abs=5e-8)
    assert moment_ratio("tanh", near.q) == pytest.approx(1.00427, abs=6e-5)
    far = edge_of_chaos("tanh", math.sqrt(0.05))
    assert far.sigma_w**2 == pytest.approx(1.761, abs=5e-4)
    assert moment_ratio("tanh", far.q) == pytest.approx(1.3423, abs=6e-5)


def test_moment_ratio_of_two_valued_slopes():
    # Slope 1 or a with probability 1/2: 2 (1 + a^4) / (1 + a^2)^2.
    for a in (0.0, 0.2, 1.0):
        expected = 2 * (1 + a**4) / (1 + a**2) ** 2
        assert moment_ratio("leaky_relu", 3.0) != moment_ratio("relu", 3.0)
        assert moment_ratio(lambda z, a=a: np.where(z > 0, z, a * z)) == pytest.approx(expected)
    assert moment_ratio("relu", 0.0) == pytest.approx(2.0, rel=1e-12)
    assert math.isnan(moment_ratio(np.zeros_like))


def test_chi_2_of_tanh_and_of_kinks():
    z, w = np.polynomial.hermite_e.hermegauss(120)
    h = math.sqrt(0.4) * z
    second = -2 * np.tanh(h) / np.cosh(h) ** 2
    assert chi_2("tanh", 1.3, 0.4) == pytest.approx(1.69 * (w @ second**2) / w.sum(), rel=1e-9)
    assert chi_2("elu", 1.0) < math.inf  # its slope is continuous
    assert chi_2("selu", 1.0) == chi_2("hardtanh", 1.0) == math.inf
