"""The edge of chaos, forward and back, against closed forms and the literature."""

import math

import numpy as np
import pytest

from isograd.theory.activations import known
from isograd.theory.chi import chi_1
from isograd.theory.edge import (
    critical_scale,
    edge_of_chaos,
    edge_of_chaos_bias,
    phase,
)
from isograd.theory.fixed_points import fixed_point


@pytest.mark.parametrize("sigma_b", [0.0, 0.1, 0.5, 2.0])
@pytest.mark.parametrize("name", sorted(set(known()) - {"linear"}))
def test_a_point_of_the_edge_is_critical_at_its_stable_fixed_point(name, sigma_b):
    edge = edge_of_chaos(name, sigma_b)
    if not edge.stable:
        assert (edge.sigma_w, edge.q) == (None, None)
        assert "has chi_1 = " in edge.text
        return
    q = 1.0 if edge.q is None else edge.q
    assert chi_1(name, edge.sigma_w, q) == pytest.approx(1.0, rel=1e-12)
    if edge.q:
        found = fixed_point(name, edge.sigma_w, sigma_b, start=edge.q)
        assert found.q == pytest.approx(edge.q, rel=1e-10)
        assert abs(edge.slope) < 1
    assert phase(name, edge.sigma_w, sigma_b) == "critical"


@pytest.mark.parametrize("name", ["tanh", "erf", "sin", "elu", "selu", "hardtanh", "relu6"])
def test_weights_give_back_the_biases(name):
    there = edge_of_chaos(name, 0.4)
    back = edge_of_chaos_bias(name, there.sigma_w)
    assert back.sigma_b == pytest.approx(0.4, rel=1e-9)
    assert back.q == pytest.approx(there.q, rel=1e-9)


def test_known_ends_of_the_edge():
    """Without biases: tanh (1, 0) (Poole et al., 2016), ReLU (sqrt 2, 0) (Hayou et al., 2019)."""
    tanh = edge_of_chaos("tanh")
    # The last bit of a sum over nodes depends on the processor's kernels.
    assert tanh.sigma_w == pytest.approx(1.0, rel=1e-14)
    assert (tanh.q, tanh.stable) == (0.0, True)
    relu = edge_of_chaos("relu")
    assert relu.sigma_w == pytest.approx(math.sqrt(2), rel=1e-15)
    assert relu.q is None
    assert edge_of_chaos("erf").sigma_w == pytest.approx(math.sqrt(math.pi) / 2, rel=1e-14)
    assert edge_of_chaos("leaky_relu").sigma_w ** 2 == pytest.approx(2 / 1.0001, rel=1e-14)
    assert edge_of_chaos("linear").sigma_w == pytest.approx(1.0, rel=1e-14)
    assert edge_of_chaos("elu").sigma_w == pytest.approx(1.0, rel=1e-14)


@pytest.mark.parametrize("q", [0.1, 1.0, 20.0])
def test_erfs_edge_is_its_closed_curve(q):
    sigma_w_squared = math.pi / 4 * math.sqrt(1 + 4 * q)
    bias = q - sigma_w_squared * 2 / math.pi * math.asin(2 * q / (1 + 2 * q))
    edge = edge_of_chaos("erf", math.sqrt(bias))
    assert edge.sigma_w**2 == pytest.approx(sigma_w_squared, rel=1e-10)
    assert edge.q == pytest.approx(q, rel=1e-10)
    assert critical_scale("erf", q) == pytest.approx(sigma_w_squared, rel=1e-14)


def test_sigmoid_is_critical_at_a_width_of_about_a_hundred():
    """Weights N(0, 1) make sigma_w^2 the width: gradients explode in wider layers."""
    assert edge_of_chaos("sigmoid", 0.0).sigma_w ** 2 == pytest.approx(103.0, abs=0.05)
    assert edge_of_chaos("sigmoid", 1.0).sigma_w ** 2 == pytest.approx(105.4, abs=0.05)


@pytest.mark.parametrize("name", ["gelu", "silu", "mish", "gelu_tanh", "hardswish"])
def test_without_biases_the_smooth_rectifiers_have_no_stable_edge(name):
    edge = edge_of_chaos(name)
    assert edge.sigma_w is None
    ((sigma_w, sigma_b, q),) = edge.unstable
    slope = float(fixed_point(name, 0.5).points[0].slope) / 0.25  # phi'(0)^2
    assert (sigma_w**2, sigma_b, q) == pytest.approx((1 / slope, 0.0, 0.0), rel=1e-9)
    assert "unstable variance" in edge.text
    # Just beyond, a small variance runs away.
    assert fixed_point(name, sigma_w * 1.001, start=1e-3).limit > 1e-3


def test_gelu_needs_biases_to_be_critical():
    assert edge_of_chaos("gelu", 0.2).sigma_w is None
    edge = edge_of_chaos("gelu", 0.5)
    assert edge.slope < 1
    assert fixed_point("gelu", edge.sigma_w, 0.5).q == pytest.approx(edge.q, rel=1e-9)


def test_where_there_is_no_edge_it_says_why():
    relu = edge_of_chaos("relu", 0.3)
    assert relu.sigma_w is None
    assert relu.text == "relu has chi_1 = dq'/dq: at chi_1 = 1 biases make the variance diverge."
    wrong = edge_of_chaos_bias("relu", 1.0)
    assert wrong.sigma_b is None
    assert "at sigma_w = 1.41421" in wrong.text
    assert edge_of_chaos_bias("tanh", 0.9).sigma_b is None
    assert edge_of_chaos(np.ones_like).sigma_w is None


@pytest.mark.parametrize(("name", "sigma_b"), [("tanh", 0.0), ("tanh", 0.3), ("relu", 0.0)])
def test_phases_on_both_sides(name, sigma_b):
    sigma_w = edge_of_chaos(name, sigma_b).sigma_w
    around = [phase(name, sigma_w * factor, sigma_b) for factor in (0.99, 1, 1.01)]
    assert around == ["ordered", "critical", "chaotic"]


def test_a_diverging_variance_has_no_phase():
    assert phase("gelu", 3.0) == "undefined"
