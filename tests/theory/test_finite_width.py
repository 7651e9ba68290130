import math

import numpy as np
import pytest

from isograd.theory import finite_width
from isograd.theory.activations import get


def log_gains(activation, width, layers, draws, seed, q=1.0):
    """ln gain^2 over its wide-net value, through fresh weights and independent units."""
    unit, generator = get(activation), np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        g = generator.standard_normal(width)
        g /= np.linalg.norm(g)
        total = 0.0
        for _ in range(layers):
            slope = unit.derivative(math.sqrt(q) * generator.standard_normal(width))
            back = generator.standard_normal((width, width)).T @ g / math.sqrt(width)
            g = slope * back
            size = np.linalg.norm(g)
            total += 2 * math.log(size)
            g /= size
        found.append(total)
    z = np.linspace(-9, 9, 20001)
    density = np.exp(-z * z / 2) / np.exp(-z * z / 2).sum()
    wide = math.log(density @ unit.derivative(math.sqrt(q) * z) ** 2)
    return np.array(found) - layers * wide


@pytest.mark.parametrize(
    ("activation", "moments"),
    [
        ("relu", finite_width.relu_log_gain_moments),
        ("linear", finite_width.linear_log_gain_moments),
    ],
)
def test_exact_moments_match_sampled_nets(activation, moments):
    width, layers, draws = 20, 20, 1500
    samples = log_gains(activation, width, layers, draws, seed=0)
    layer = moments(width)
    error = samples.std() / math.sqrt(draws)
    assert layers * layer.mean == pytest.approx(samples.mean(), abs=4 * error)
    # a variance of 1500 samples scatters by 4 %
    assert layers * layer.variance == pytest.approx(samples.var(), rel=0.15)


def test_a_relu_net_run_forward_scatters_as_predicted():
    """Nothing drawn apart: inputs, weights and masks of one real net, backward."""
    generator, width, layers, draws = np.random.default_rng(0), 30, 10, 800
    found = []
    for _ in range(draws):
        x, steps = generator.standard_normal(width), []
        for _ in range(layers):
            w = math.sqrt(2 / width) * generator.standard_normal((width, width))
            h = w @ x
            steps.append((w, h > 0))
            x = np.maximum(h, 0)
        g = generator.standard_normal(width)
        size = (g**2).sum()
        for w, live in reversed(steps):
            g = w.T @ (live * g)
        found.append(math.log((g**2).sum() / size))
    layer = finite_width.relu_log_gain_moments(width)
    error = np.std(found) / math.sqrt(draws)
    assert layers * layer.mean == pytest.approx(np.mean(found), abs=4 * error)
    assert layers * layer.variance == pytest.approx(np.var(found), rel=0.2)


def test_known_values():
    relu, linear = finite_width.relu_log_gain_moments(20), finite_width.linear_log_gain_moments(50)
    assert (20 * relu.mean, 20 * relu.variance) == pytest.approx((-2.744, 6.235), abs=6e-4)
    assert (50 * linear.mean, 50 * linear.variance) == pytest.approx((-1.0067, 2.0405), abs=6e-5)
    assert finite_width.relu_second_moment_ratio([50] * 50) == pytest.approx(1.1**50)
    assert finite_width.relu_second_moment_ratio([]) == 1


def test_second_moment_ratio_is_that_of_the_exact_law():
    generator, n = np.random.default_rng(0), 10
    live = generator.binomial(n, 0.5, 400_000)
    x = 2 / n * np.where(live > 0, generator.chisquare(np.maximum(live, 1)), 0)
    ratio = (x**2).mean() / x.mean() ** 2
    assert finite_width.relu_second_moment_ratio([n]) == pytest.approx(ratio, rel=0.01)


def test_wide_limit_is_five_over_two_n():
    layer = finite_width.relu_log_gain_moments(4000)
    assert layer.mean * 4000 == pytest.approx(-2.5, rel=2e-3)
    assert layer.variance * 4000 == pytest.approx(5, rel=2e-3)


@pytest.mark.parametrize(("activation", "q"), [("relu", 1.0), ("linear", 1.0), ("tanh", 2.0)])
def test_interval_holds_the_share_of_draws_it_promises(activation, q):
    samples = log_gains(activation, 40, 12, 1000, seed=2, q=q)
    bar = finite_width.log_gain_interval([40] * 12, activation, level=0.9, q=q)
    inside = ((bar.low < samples) & (samples < bar.high)).mean()
    # binomial error 0.01; a chi-square sum is not exactly normal
    assert inside == pytest.approx(0.9, abs=0.035)
    assert bar.exact_moments == (activation != "tanh")
    assert bar.decades == pytest.approx((bar.low / math.log(100), bar.high / math.log(100)))


def test_level_is_a_probability():
    with pytest.raises(ValueError, match="`level` must be at least 0 and below 1"):
        finite_width.log_gain_interval([10], level=1.0)
