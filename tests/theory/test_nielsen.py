import math

import numpy as np
import pytest

from isograd.theory import nielsen


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_predicted_ratios_are_within_the_spread_of_the_published_runs():
    first = [nielsen.nielsen_ratios(layers)[0] for layers in (2, 3, 4)]
    assert first == pytest.approx([4.784, 23.34, 113.9], rel=1e-3)
    # Nielsen's single runs with 30 units a layer: 4.70, 23.9, 95.8
    assert first == pytest.approx([4.70, 23.9, 95.8], rel=0.2)


def test_ratios_are_the_products_of_the_gains():
    gains, ratios = nielsen.nielsen_gains(5), nielsen.nielsen_ratios(5)
    assert len(gains) == 4
    assert len(ratios) == 5
    assert ratios[-1] == 1
    assert ratios[0] == pytest.approx(1 / math.prod(gains))
    assert nielsen.nielsen_ratios(1) == (1.0,)


@pytest.mark.parametrize(("weight", "bias"), [(1.0, 1.0), (9.0, 0.25)])
def test_speeds_of_a_wide_net(weight, bias):
    generator, width = np.random.default_rng(0), 1500
    x = math.sqrt(0.3) * generator.standard_normal(width)
    second, a, steps = (x**2).mean(), x, []
    for _ in range(4):
        w = math.sqrt(weight / width) * generator.standard_normal((width, width))
        a = sigmoid(w @ a + math.sqrt(bias) * generator.standard_normal(width))
        steps.append((w, a * (1 - a)))
    back, speeds = generator.standard_normal(width), []
    for w, slope in reversed(steps):
        delta = slope * back
        speeds.append(np.linalg.norm(delta))
        back = w.T @ delta
    measured = [speeds[0] / speed for speed in reversed(speeds)]
    predicted = nielsen.nielsen_ratios(
        4, input_second_moment=second, sigma_w_squared=weight, sigma_b_squared=bias
    )
    # each factor scatters by sqrt(2 / 1500) / 2 = 2 %
    assert measured == pytest.approx(predicted, rel=0.08)


@pytest.mark.parametrize(("variance", "known"), [(1, 0.042), (30, 0.528), (200, 1.37), (784, 2.68)])
def test_large_weights_help_only_by_their_square_root(variance, known):
    assert nielsen.sigmoid_layer_gain_squared(variance) == pytest.approx(known, abs=0.005)


@pytest.mark.parametrize("variance", [0.0, 1.0, 30.0, 1e6])
def test_fixed_point_maps_to_itself(variance):
    q = nielsen.sigmoid_fixed_point(variance, 0.5)
    z = np.linspace(-9, 9, 2_000_001)
    density = np.exp(-z * z / 2) / np.exp(-z * z / 2).sum()
    with np.errstate(over="ignore"):
        square = density @ sigmoid(math.sqrt(q) * z) ** 2
    assert variance * square + 0.5 == pytest.approx(q, rel=1e-6)


def test_large_weights_follow_the_asymptotic_law():
    variance = 1e6
    q = variance / 2
    law = variance / (6 * math.sqrt(2 * math.pi * q))
    assert nielsen.sigmoid_layer_gain_squared(variance) == pytest.approx(law, rel=2e-3)


def test_gain_is_one_at_the_critical_width():
    for bias in (0.0, 1.0, 4.0):
        width = nielsen.critical_sigmoid_width(bias)
        assert nielsen.sigmoid_layer_gain_squared(width, bias) == pytest.approx(1, rel=1e-9)
        assert nielsen.sigmoid_layer_gain_squared(2 * width, bias) > 1
