"""The mean field against random wide nets in numpy.

Means over independent nets, judged by their own standard error: 4.5 of them, so that all 30
comparisons hold by chance in 9998 of 10,000 draws of the seed. The 1/width bias, 0.1 %, lies below.
"""

import math

import numpy as np
import pytest

from isograd.theory.activations import get
from isograd.theory.chi import chi_1
from isograd.theory.correlation import correlation_map
from isograd.theory.qmap import q_map

WIDTH, NETS = 1000, 24
CASES = [
    ("tanh", 1.5, 0.3),
    ("relu", 2**0.5, 0.0),
    ("gelu", 1.5, 0.5),
    ("selu", 1.0, 0.1),
    ("sigmoid", 1.0, 1.0),
    ("hardswish", 1.7, 0.2),
]


def _agrees(samples, expected):
    error = np.std(samples, ddof=1) / math.sqrt(len(samples))
    assert error < 0.03 * expected  # else the comparison would prove nothing
    assert abs(np.mean(samples) - expected) < 4.5 * error + 2e-3 * expected


@pytest.mark.parametrize(("name", "sigma_w", "sigma_b"), CASES)
def test_one_layer_of_random_nets_follows_the_three_maps(name, sigma_w, sigma_b):
    rng, known = np.random.default_rng(1), get(name)
    q, c = 1.4, 0.6
    variances, gains, correlations = [], [], []
    for _ in range(NETS):
        one, two = rng.standard_normal((2, WIDTH))
        u, v = math.sqrt(q) * one, math.sqrt(q) * (c * one + math.sqrt(1 - c * c) * two)
        weights = rng.standard_normal((WIDTH, WIDTH)) * sigma_w / math.sqrt(WIDTH)
        biases = rng.standard_normal(WIDTH) * sigma_b
        after_u = weights @ known.function(u) + biases
        after_v = weights @ known.function(v) + biases
        gradient = rng.standard_normal(WIDTH)
        passed = known.derivative(u) * (weights.T @ gradient)
        variances.append(np.mean(after_u**2))
        gains.append(np.sum(passed**2) / np.sum(gradient**2))
        correlations.append(np.mean(after_u * after_v))
    following = q_map(q, known, sigma_w, sigma_b)
    _agrees(variances, following)
    _agrees(gains, chi_1(known, sigma_w, q))
    _agrees(correlations, following * correlation_map(c, known, sigma_w, sigma_b, q=q))


@pytest.mark.parametrize(("name", "sigma_w", "sigma_b"), [CASES[0], CASES[4]])
def test_five_layers_of_random_nets_follow_the_product(name, sigma_w, sigma_b):
    rng, known, depth, width = np.random.default_rng(2), get(name), 5, 600
    q0, ratios, ends = 1.0, [], []
    for _ in range(NETS):
        h, layers = rng.standard_normal(width), []
        for _ in range(depth):
            weights = rng.standard_normal((width, width)) * sigma_w / math.sqrt(width)
            layers.append((weights, h))
            h = weights @ known.function(h) + rng.standard_normal(width) * sigma_b
        ends.append(np.mean(h**2))
        gradient = start = rng.standard_normal(width)
        for weights, before in reversed(layers):
            gradient = known.derivative(before) * (weights.T @ gradient)
        ratios.append(np.sum(gradient**2) / np.sum(start**2))
    expected, q = 1.0, q0
    for _ in range(depth):
        expected *= chi_1(known, sigma_w, q)
        q = q_map(q, known, sigma_w, sigma_b)
    _agrees(ends, q)
    # Five layers of width 600 add up to a bias of the order of 1 %.
    error = np.std(ratios, ddof=1) / math.sqrt(NETS)
    assert abs(np.mean(ratios) - expected) < 4.5 * error
    assert error < 0.04 * expected
