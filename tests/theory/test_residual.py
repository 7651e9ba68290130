import math

import numpy as np
import pytest

from isograd.theory import residual
from isograd.theory.activations import get
from isograd.theory.residual_growth import activation_branch_log_gain_squared


@pytest.mark.parametrize("scale", [1.0, 0.25, 0.0])
def test_linear_branches_give_the_law(scale):
    generator = np.random.default_rng(0)
    width, layers = 1200, 16
    g = generator.standard_normal(width)
    size = (g**2).sum()
    for _ in range(layers):
        g = g + scale * (generator.standard_normal((width, width)) @ g) / math.sqrt(width)
    measured = math.log((g**2).sum() / size)
    predicted = residual.residual_log_gain_squared(layers, branch_scale=scale)
    # sd of ln is about sqrt(2 L / width) = 0.16 at scale 1, and 0 at scale 0
    assert measured == pytest.approx(predicted, abs=0.35 * scale + 1e-12)


def test_known_totals():
    assert residual.residual_gain_squared(16) == 65536
    by_depth = residual.depth_scaled_branch(50)
    assert residual.residual_gain_squared(50, branch_scale=by_depth) == pytest.approx(1.02**50)
    assert residual.residual_gain_squared(50, branch_scale=1 / 50) == pytest.approx(
        1.0202, abs=5e-5
    )
    assert residual.residual_gain_squared(100_000) == math.inf
    assert residual.gpt2_projection_scale(12) == pytest.approx(1 / math.sqrt(24))
    assert residual.fixup_weight_scale(54, 2) == pytest.approx(54**-0.5)


def test_pre_norm_product_equals_the_product_written_out():
    q, product = 0.7, 1.0
    for _ in range(23):
        product *= 1 + 1.3 / q
        q += 0.4
    value = residual.pre_norm_gain_squared(
        23, branch_gain_squared=1.3, branch_second_moment=0.4, input_second_moment=0.7
    )
    assert value == pytest.approx(product, rel=1e-11)
    moment = residual.pre_norm_second_moment(23, branch_second_moment=0.4, input_second_moment=0.7)
    assert moment == pytest.approx(q)


def test_pre_norm_net_grows_like_its_depth():
    """Branch: RMS norm, then a Gaussian matrix; a random gradient walks back through it."""
    generator = np.random.default_rng(3)
    width, layers = 800, 31
    x, steps = generator.standard_normal(width), []
    for _ in range(layers):
        w = generator.standard_normal((width, width)) / math.sqrt(width)
        steps.append((w, x))
        x = x + w @ (x / np.sqrt((x**2).mean()))
    g = generator.standard_normal(width)
    size = (g**2).sum()
    for w, before in reversed(steps):
        rms = np.sqrt((before**2).mean())
        y, back = before / rms, w.T @ g
        g = g + (back - y * (y @ back) / width) / rms
    # sd of ln over draws about sqrt(2 sum 1/(l+1)^2 / width) ~ 0.07
    assert math.log((g**2).sum() / size) == pytest.approx(math.log(32), abs=0.25)


@pytest.mark.parametrize(("sigma_w_squared", "known"), [(1.0, 7.216), (4.0, 12.466)])
def test_tanh_branches_grow_below_exponential(sigma_w_squared, known):
    predicted = activation_branch_log_gain_squared("tanh", 50, sigma_w_squared=sigma_w_squared)
    assert predicted == pytest.approx(known, abs=6e-4)
    generator, unit, width = np.random.default_rng(0), get("tanh"), 500
    x, steps = generator.standard_normal(width), []
    for _ in range(50):
        w = math.sqrt(sigma_w_squared / width) * generator.standard_normal((width, width))
        h = w @ x
        steps.append((w, h))
        x = x + unit.function(h)
    g = generator.standard_normal(width)
    size = (g**2).sum()
    for w, h in reversed(steps):
        g = g + w.T @ (unit.derivative(h) * g)
    # 2 % of the draw; plain doubling would be 34.7
    assert math.log((g**2).sum() / size) == pytest.approx(predicted, abs=0.6)


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ValueError, match="branch_gain_squared"):
        residual.residual_gain_squared(3, branch_gain_squared=-1)
    with pytest.raises(ValueError, match="layers_per_branch"):
        residual.fixup_weight_scale(3, 1)
