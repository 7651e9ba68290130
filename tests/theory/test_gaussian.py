"""Quadrature against closed forms, Gauss-Hermite and adaptive quadrature."""

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, special

from isograd.theory.activations import get
from isograd.theory.gaussian import expect, expect_pair

VARIANCES = [1e-12, 1e-6, 0.01, 0.5, 1.0, 3.0, 10.0, 100.0, 1e4, 1e8, 1e12]
CORRELATIONS = [-1, -0.9999, -0.5, 0, 1e-3, 0.04, 0.06, 0.9, 0.9999, 1 - 1e-8, 1 - 1e-12, 1]


@pytest.mark.parametrize("q", VARIANCES)
@pytest.mark.parametrize("name", ["linear", "relu", "leaky_relu", "erf", "gelu", "squared_relu"])
def test_one_dimension_meets_the_closed_forms_at_every_variance(name, q):
    known = get(name)
    square = expect(lambda h: known.function(h) ** 2, q, known.kinks)
    slope = expect(lambda h: known.derivative(h) ** 2, q, known.kinks)
    assert square == pytest.approx(known.closed.square(q), rel=1e-13)
    assert slope == pytest.approx(known.closed.square_derivative(q), rel=1e-13)


@pytest.mark.parametrize("q", [0.01, 1.0, 25.0, 150.0])
def test_oscillating_and_growing_functions(q):
    assert expect(lambda h: np.sin(h) ** 2, q) == pytest.approx(-math.expm1(-2 * q) / 2, rel=1e-12)
    assert expect(np.exp, q) == pytest.approx(math.exp(q / 2), rel=1e-13)


@pytest.mark.parametrize("degree", [2, 4, 10, 20])
def test_even_moments_are_double_factorials(degree):
    assert expect(lambda h: h**degree) == pytest.approx(special.factorial2(degree - 1), rel=1e-13)


@pytest.mark.parametrize("name", ["tanh", "gelu_tanh", "silu", "mish", "sigmoid", "softplus"])
def test_smooth_functions_agree_with_gauss_hermite_at_small_variance(name):
    # Poles at distance pi / (2 sqrt(q)) = 2.2 or more: 400 nodes leave about 1e-13.
    known, q = get(name), 0.5
    z, w = special.roots_hermitenorm(150)
    reference = w @ known.function(math.sqrt(q) * z) ** 2 / w.sum()
    assert expect(lambda h: known.function(h) ** 2, q) == pytest.approx(reference, rel=1e-11)


@pytest.mark.parametrize("name", ["tanh", "elu", "hardswish", "softsign", "relu6", "mish"])
@pytest.mark.parametrize("q", [0.3, 1.0, 40.0])
def test_agrees_with_adaptive_quadrature(name, q):
    known, root = get(name), math.sqrt(q)

    def integrand(z):
        density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        return float(known.function(np.array(root * z))) ** 2 * density

    cuts = sorted({k / root for k in known.kinks if abs(k / root) < 12} | {0.0})
    ends = [-12.0, *cuts, 12.0]
    reference = sum(
        integrate.quad(integrand, a, b, epsabs=1e-13, epsrel=1e-13, limit=200)[0]
        for a, b in itertools.pairwise(ends)
    )
    measured = expect(lambda h: known.function(h) ** 2, q, known.kinks)
    assert measured == pytest.approx(reference, rel=1e-11)


def test_an_untold_kink_costs_digits():
    """The reason for the argument: the same integral with and without it."""
    reference = special.ndtr(-0.3) * (1 + 0.09) - 0.3 * math.exp(-0.045) / math.sqrt(2 * math.pi)

    def hinge(h):
        return np.maximum(h - 0.3, 0) ** 1 * np.maximum(h - 0.3, 0)

    def step(h):
        return (h > 0.3).astype(float)

    assert expect(hinge, kinks=[0.3]) == pytest.approx(reference, rel=1e-13)
    assert expect(step, kinks=[0.3]) == pytest.approx(special.ndtr(-0.3), rel=1e-13)
    assert abs(expect(step) / special.ndtr(-0.3) - 1) > 1e-5


@pytest.mark.parametrize("c", CORRELATIONS)
@pytest.mark.parametrize(("q1", "q2"), [(1, 1), (0.01, 0.01), (100, 100), (1e4, 0.3), (1e-6, 1e8)])
@pytest.mark.parametrize("name", ["linear", "relu", "leaky_relu", "erf"])
def test_two_dimensions_meet_the_closed_forms_at_every_correlation(name, q1, q2, c):
    known = get(name)
    f, d = known.function, known.derivative
    # Against the Cauchy-Schwarz bound: the kernel itself passes through 0.
    scale = math.sqrt(known.closed.square(q1) * known.closed.square(q2))
    pair = expect_pair(lambda u, v: f(u) * f(v), q1, q2, c, known.kinks)
    assert abs(pair - known.closed.kernel(q1, q2, c)) < 1e-12 * scale
    scale = math.sqrt(known.closed.square_derivative(q1) * known.closed.square_derivative(q2))
    pair = expect_pair(lambda u, v: d(u) * d(v), q1, q2, c, known.kinks)
    assert abs(pair - known.closed.derivative_kernel(q1, q2, c)) < 1e-12 * scale


def test_the_orthant_probability_needs_the_moving_cut():
    """P(u > 0, v > 0) = 1/4 + asin(c) / 2 pi (Sheppard, 1899)."""
    for c in (0.3, 0.99, 1 - 1e-6):
        both = expect_pair(lambda u, v: (u > 0) * (v > 0) * 1.0, 2.0, 5.0, c, [0.0])
        assert both == pytest.approx(0.25 + math.asin(c) / (2 * math.pi), rel=1e-12)


def test_zero_variance_is_the_value_at_zero():
    assert expect(np.cos, 0.0) == 1.0
    assert expect_pair(lambda u, v: np.cos(u) + v, 0.0, 0.0, 0.3) == 1.0
    assert expect_pair(lambda u, v: np.cos(u) * v**2, 0.0, 3.0, 0.3) == pytest.approx(3, rel=1e-13)


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf])
def test_a_variance_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match="`q` must be finite"):
        expect(np.cos, wrong)
    with pytest.raises(ValueError, match="`c` must be"):
        expect_pair(lambda u, v: u * v, 1.0, 1.0, wrong - 1)
