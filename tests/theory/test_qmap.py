"""The variance map, its slope and its fixed points."""

import math

import numpy as np
import pytest

from isograd.theory.activations import known
from isograd.theory.fixed_points import fixed_point
from isograd.theory.moments import mean
from isograd.theory.qmap import q_map, q_slope, q_trajectory

SMOOTH_OR_NOT = sorted(set(known()) - {"exp"})


def test_sigmoid_with_unit_scales_settles_at_the_published_values():
    """Weights N(0, 1/n), biases N(0, 1), from 784 inputs of mean square 0.112."""
    expected = [1.112, 1.2968, 1.3020, 1.3021]
    assert q_trajectory(1.112, 3, "sigmoid", 1, 1) == pytest.approx(expected, abs=5e-5)
    assert fixed_point("sigmoid", 1, 1).q == pytest.approx(1.302134, abs=5e-7)


@pytest.mark.parametrize("name", SMOOTH_OR_NOT)
@pytest.mark.parametrize("q", [0.05, 1.0, 9.0])
def test_the_slope_is_the_maps_derivative(name, q):
    step = 1e-3 * q  # central difference of order 4; its error is about 1e-12 / 1e-3
    difference = sum(
        weight * (q_map(q + k * step, name, 1.3) - q_map(q - k * step, name, 1.3))
        for k, weight in ((1, 2 / 3), (2, -1 / 12))
    )
    assert q_slope(q, name, 1.3) == pytest.approx(difference / step, rel=1e-7, abs=1e-10)


@pytest.mark.parametrize("name", ["tanh", "elu", "selu", "softsign", "gelu", "leaky_relu"])
def test_at_zero_the_slope_is_the_mean_square_of_both_sides(name):
    # The next order is proportional to sqrt(q) where the curvature jumps.
    assert q_slope(0.0, name, 1.1) == pytest.approx(q_map(1e-10, name, 1.1) / 1e-10, rel=1e-4)


def test_at_zero_the_slope_of_an_offset_activation_counts_its_curvature():
    # softplus: phi = ln 2, phi' = 1/2, phi'' = 1/4 at 0.
    assert q_slope(0.0, "softplus", 2.0) == pytest.approx(4 * (0.25 + math.log(2) / 4), rel=1e-7)
    assert q_slope(0.0, lambda z: 1 + np.maximum(z, 0), 1.0) == math.inf


FIXED = [
    ("tanh", 1.3, 0.3),
    ("tanh", 1.005, 0.0),
    ("erf", 2.0, 0.1),
    ("sigmoid", 10.0, 0.0),
    ("relu", 1.2, 0.7),
    ("gelu", 2**0.5, 0.3),
    ("selu", 1.0, 0.0),
    ("softplus", 1.0, 0.0),
    ("hardtanh", 1.5, 0.2),
    ("sin", 30.0, 0.0),
]


@pytest.mark.parametrize(("name", "sigma_w", "sigma_b"), FIXED)
def test_a_stable_fixed_point_is_where_iteration_ends(name, sigma_w, sigma_b):
    found = fixed_point(name, sigma_w, sigma_b)
    assert found.kind == "stable"
    assert abs(found.slope) < 1
    iterated = q_trajectory(1.0, 3000, name, sigma_w, sigma_b)[-1]
    assert found.q == pytest.approx(iterated, rel=1e-10)


def test_klambauers_fixed_point_of_selu():
    """Mean 0 and variance 1 map to themselves; the variance's slope is 0.782648 (2017, p. 4)."""
    found = fixed_point("selu", 1.0)
    assert found.q == pytest.approx(1.0, abs=1e-12)
    assert mean("selu", 1.0) == pytest.approx(0.0, abs=1e-14)
    assert found.slope == pytest.approx(0.782648, abs=5e-7)


def test_relu_with_biases_has_the_geometric_sum():
    assert fixed_point("relu", 1.0, 0.5).q == pytest.approx(0.25 / (1 - 0.5), rel=1e-15)


def test_relu_at_its_critical_weights_has_a_line_of_fixed_points():
    found = fixed_point("relu", math.sqrt(2), start=3.0)
    assert (found.kind, found.q, found.slope) == ("line of fixed points", None, 1.0)
    assert found.limit == 3.0
    bare = fixed_point(lambda z: np.maximum(z, 0), math.sqrt(2))
    assert bare.kind == "line of fixed points"


@pytest.mark.parametrize(
    ("name", "sigma_w", "sigma_b", "kind"),
    [
        ("relu", 1.5, 0.0, "none: diverges"),
        ("relu", math.sqrt(2), 0.1, "none: diverges"),
        ("relu", 1.3, 0.0, "none: vanishes"),
        ("tanh", 0.9, 0.0, "none: vanishes"),
        ("tanh", 1.0, 0.0, "none: vanishes"),
        ("exp", 0.5, 0.5, "none: diverges"),
        ("gelu", 1.2, 0.0, "none: vanishes"),
        ("linear", 0.0, 0.0, "none: vanishes"),
    ],
)
def test_no_fixed_point_is_said_and_no_number_returned(name, sigma_w, sigma_b, kind):
    found = fixed_point(name, sigma_w, sigma_b)
    assert (found.kind, found.q, found.slope, found.stable) == (kind, None, None, False)


@pytest.mark.parametrize("name", ["gelu", "silu", "mish", "squared_relu"])
def test_an_unstable_fixed_point_is_said_and_no_number_returned(name):
    sigma_w = {"squared_relu": 0.5}.get(name, 1.5)
    found = fixed_point(name, sigma_w)
    assert (found.kind, found.q) == ("unstable", None)
    (point,) = [p for p in found.points if p.q > 0]
    assert q_map(point.q, name, sigma_w) == pytest.approx(point.q, rel=1e-12)
    assert point.slope > 1
    assert "is unstable" in found.text
    # It parts the starts that vanish from those that diverge.
    assert fixed_point(name, sigma_w, start=0.99 * point.q).limit == 0.0
    assert fixed_point(name, sigma_w, start=1.01 * point.q).limit == math.inf


def test_of_several_fixed_points_the_start_decides():
    """GELU with biases: stable below, unstable above."""
    low = fixed_point("gelu", 1.42, 0.3)
    assert [p.stable for p in low.points] == [True, False]
    assert low.q == low.points[0].q
    high = fixed_point("gelu", 1.42, 0.3, start=10.0)
    assert (high.kind, high.q) == ("none: diverges", None)
    assert high.points == low.points
    assert "is not reached from there" in high.text


def test_two_close_fixed_points_are_both_found():
    """exp at q = sigma_w^2 e^(2q) + sigma_b^2 has a double root at q = 1/2 + sigma_b^2."""
    sigma_w = math.exp(-0.5) / math.sqrt(2)
    just_below = fixed_point("exp", sigma_w * (1 - 1e-4), 0.0)
    assert len(just_below.points) == 2
    assert [p.q for p in just_below.points] == pytest.approx([0.5, 0.5], abs=0.02)
    assert fixed_point("exp", sigma_w * (1 + 1e-4), 0.0).points == ()


def bump(z):
    return 6 * z * np.exp(-z * z)


@pytest.mark.parametrize("sigma_w", [0.7, 8.0, 1e3])
def test_a_map_that_falls_overshoots_but_settles(sigma_w):
    """E phi^2 = 36 q / (1 + 4 q)^1.5, whose slope tends to -1/2 at the fixed point."""
    found = fixed_point(bump, sigma_w)
    expected = ((36 * sigma_w**2) ** (2 / 3) - 1) / 4
    assert found.q == pytest.approx(expected, rel=1e-9)
    assert found.slope == pytest.approx(1 - 1.5 * (1 - 1 / (1 + 4 * expected)), rel=1e-7)
    # Far above, the next variance is far below: 36 sigma_w^2 / 8 sqrt(q).
    assert fixed_point(bump, sigma_w, start=1e12).q == found.q


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf])
def test_scales_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="`sigma_w` must be finite and at least 0"):
        q_map(1.0, "tanh", wrong)
    with pytest.raises(ValueError, match="`sigma_b`"):
        fixed_point("tanh", 1.0, wrong)
    with pytest.raises(ValueError, match="`start` must be finite and above 0"):
        fixed_point("tanh", 1.0, start=0.0)


def test_a_trajectory_that_overflows_ends_at_infinity():
    assert q_trajectory(1.0, 5, "exp", 2.0)[-1] == math.inf


def test_a_map_that_only_touches_has_an_unstable_point():
    """exp at its double root q = 1/2: reached from below, left above."""
    found = fixed_point("exp", math.exp(-0.5) / math.sqrt(2), start=0.5)
    assert (found.kind, found.q) == ("unstable", None)
    assert [p.slope for p in found.points] == pytest.approx([1.0])


def test_a_start_far_above_may_fall_past_the_stable_point():
    """E phi^2 = 3 q^2 / (1 + 4 q)^2.5: 0 stable, then unstable, stable, and a tail that falls."""
    found = fixed_point(lambda z: z * z * np.exp(-z * z), 6.0)
    assert [p.stable for p in found.points] == [True, False, True]
    assert found.q == found.points[-1].q
    far = fixed_point(lambda z: z * z * np.exp(-z * z), 6.0, start=1e12)
    assert (far.q, far.limit) == (None, 0.0)
