"""The correlation map, its fixed points and the depth scales."""

import math

import numpy as np
import pytest

from isograd.theory.activations import get
from isograd.theory.chi import chi_1
from isograd.theory.correlation import (
    chi_c,
    correlation_fixed_points,
    correlation_map,
    correlation_trajectory,
    stable_correlation,
)
from isograd.theory.depth_scales import depth_scale, depth_scales
from isograd.theory.edge import edge_of_chaos
from isograd.theory.fixed_points import fixed_point
from isograd.theory.moments import derivative_kernel, kernel

NETS = [
    ("tanh", 1.5, 0.0),
    ("tanh", 1.3, 0.3),
    ("tanh", 4.0, 0.3),
    ("erf", 2.0, 0.1),
    ("sigmoid", 30.0, 0.0),
    ("relu", 1.2, 0.5),
    ("selu", 1.0, 0.0),
    ("hardtanh", 2.0, 0.1),
    ("gelu", 2**0.5, 0.3),
]


@pytest.mark.parametrize("c", [-1.0, -0.4, 0.0, 0.7, 1.0])
def test_relus_map_is_the_arc_cosine_kernel(c):
    """Cho and Saul (2009); the same for every length."""
    expected = (math.sqrt(1 - c * c) + (math.pi - math.acos(c)) * c) / math.pi
    for q in (1e-3, 1.0, 50.0):
        assert correlation_map(c, "relu", 2**0.5, q=q) == pytest.approx(expected, abs=1e-13)
        # A bare function takes the quadrature.
        bare = correlation_map(c, lambda z: np.maximum(z, 0), 2**0.5, q=q)
        assert bare == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["tanh", "gelu", "elu", "softplus", "hardswish"])
def test_the_kernel_is_mehlers_series(name):
    """E phi(u) phi(v) = sum a_n^2 c^n over the Hermite coefficients (Daniely et al., 2016)."""
    known, q, c = get(name), 0.6, 0.5
    z = (np.arange(-140_000, 140_000) + 0.5) * 1e-4  # midpoint rule: spectral for Gaussian tails
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * 1e-4
    value = known.function(math.sqrt(q) * z) * density
    total, previous, current = 0.0, np.zeros_like(z), np.ones_like(z)
    for n in range(41):  # c^41 = 5e-13
        total += (value @ current) ** 2 * c**n
        previous, current = (
            current,
            (z * current - math.sqrt(n) * previous) / math.sqrt(n + 1),
        )
    assert kernel(known, q, q, c) == pytest.approx(total, rel=1e-8)


@pytest.mark.parametrize("name", ["tanh", "gelu", "elu", "selu", "relu", "erf", "sin"])
def test_the_derivative_kernel_is_the_kernels_slope(name):
    """dE[phi phi] / dc = q E[phi' phi'] (Price, 1958)."""
    q, c, step = 2.0, 0.3, 1e-3
    difference = sum(
        weight * (kernel(name, q, q, c + k * step) - kernel(name, q, q, c - k * step))
        for k, weight in ((1, 2 / 3), (2, -1 / 12))
    )
    assert q * derivative_kernel(name, q, q, c) == pytest.approx(difference / step, rel=1e-8)


@pytest.mark.parametrize("name", ["tanh", "mish", "elu", "gelu"])
def test_unequal_lengths_are_symmetric(name):
    assert kernel(name, 0.3, 7.0, 0.6) == pytest.approx(kernel(name, 7.0, 0.3, 0.6), rel=1e-11)


@pytest.mark.parametrize(("name", "sigma_w", "sigma_b"), NETS)
def test_every_fixed_point_maps_to_itself(name, sigma_w, sigma_b):
    q = fixed_point(name, sigma_w, sigma_b).q
    points = correlation_fixed_points(name, sigma_w, sigma_b, q)
    assert points[-1].c == 1.0
    assert points[-1].slope == pytest.approx(chi_1(name, sigma_w, q), rel=1e-12)
    for point in points:
        c = correlation_map(point.c, name, sigma_w, sigma_b, q=q)
        assert c == pytest.approx(point.c, abs=1e-11)
        assert chi_c(point.c, name, sigma_w, sigma_b, q=q) == point.slope


@pytest.mark.parametrize(("name", "sigma_w", "sigma_b"), NETS)
def test_correlations_go_to_the_stable_point(name, sigma_w, sigma_b):
    q = fixed_point(name, sigma_w, sigma_b).q
    point = stable_correlation(name, sigma_w, sigma_b, q)
    assert (point.c == 1.0) == (chi_1(name, sigma_w, q) <= 1)
    depth = 30
    path = correlation_trajectory(0.6, depth, name, sigma_w, sigma_b, q0=q)
    gap = np.abs(path - point.c)
    assert gap[-1] < gap[0]
    # Its slope gives the rate once c is close; 2 % for what is left of the curvature.
    if gap[-1] > 1e-6:
        assert gap[-1] / gap[-2] == pytest.approx(point.slope, rel=0.02)


def test_near_the_edge_the_chaotic_fixed_point_is_still_told_from_one():
    edge = edge_of_chaos("tanh", 0.3)
    sigma_w = edge.sigma_w * (1 + 1e-5)
    q = fixed_point("tanh", sigma_w, 0.3).q
    point = stable_correlation("tanh", sigma_w, 0.3, q)
    assert 0 < 1 - point.c < 1e-3
    assert correlation_map(point.c, "tanh", sigma_w, 0.3, q=q) == pytest.approx(point.c, abs=1e-14)
    # To first order the slopes at the two points lie as far from 1 on either side.
    assert 1 - point.slope == pytest.approx(chi_1("tanh", sigma_w, q) - 1, rel=0.02)


def test_odd_functions_without_biases_have_points_at_both_ends():
    q = fixed_point("tanh", 1.5).q
    points = correlation_fixed_points("tanh", 1.5, 0.0, q)
    assert [p.c for p in points] == [-1.0, 0.0, 1.0]
    assert [p.stable for p in points] == [False, True, False]


def test_what_has_no_correlation_is_refused():
    with pytest.raises(ValueError, match="variance is 0"):
        correlation_map(0.5, "tanh", 0.0)
    with pytest.raises(ValueError, match="`c` must be"):
        correlation_map(1.5, "tanh", 1.0)
    with pytest.raises(ValueError, match="must be a fixed point"):
        correlation_fixed_points("tanh", 1.5, 0.0, 1.0)


@pytest.mark.parametrize(("name", "sigma_w", "sigma_b"), NETS)
def test_depth_scales_are_the_logs_of_the_slopes(name, sigma_w, sigma_b):
    scales = depth_scales(name, sigma_w, sigma_b)
    found = fixed_point(name, sigma_w, sigma_b)
    assert scales.q == found.q
    assert math.exp(-1 / scales.xi_q) == pytest.approx(abs(found.slope), rel=1e-12)
    assert math.exp(-1 / scales.xi_grad) == pytest.approx(scales.chi_1, rel=1e-12)
    assert scales.xi_c > 0
    if scales.c == 1:  # ordered: forward and backward forget alike
        assert scales.xi_c == pytest.approx(scales.xi_grad, rel=1e-9)
    else:  # chaotic: the gradient grows
        assert scales.xi_grad < 0


def test_depth_scales_at_and_without_a_fixed_point():
    he = depth_scales("relu", 2**0.5)
    assert (he.kind, he.q, he.c) == ("line of fixed points", 1.0, 1.0)
    assert he.xi_grad == he.xi_c == he.xi_q == math.inf
    none = depth_scales("relu", 1.6)
    assert (none.q, none.xi_c, none.kind) == (None, None, "none: diverges")
    assert depth_scale(2.0) == pytest.approx(-1 / math.log(2))
    assert depth_scale(-0.5) == depth_scale(0.5)
