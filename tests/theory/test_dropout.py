import math

import numpy as np
import pytest

from isograd.theory import dropout
from isograd.theory.activations import get


def test_both_directions_grow_by_one_over_keep():
    """He-initialised ReLU layers with dropout, in numpy."""
    generator, width, layers, p = np.random.default_rng(0), 1500, 6, 0.3
    x, records = generator.standard_normal(width), []
    start = (x**2).mean()
    for _ in range(layers):
        w = math.sqrt(2 / width) * generator.standard_normal((width, width))
        h = w @ x
        mask = (generator.random(width) > p) / (1 - p) * (h > 0)
        records.append((w, mask))
        x = mask * h
    forward = math.log((x**2).mean() / start)
    g = generator.standard_normal(width)
    size = (g**2).sum()
    for w, mask in reversed(records):
        g = w.T @ (mask * g)
    backward = math.log((g**2).sum() / size)
    predicted = dropout.dropout_log_gain_squared(p, layers)
    # ln scatters by sqrt(6 * 8 / 1500) = 0.18; without dropout both would be near 0, not 2.14
    assert forward == pytest.approx(predicted, abs=0.5)
    assert backward == pytest.approx(predicted, abs=0.5)
    assert predicted == pytest.approx(layers * math.log(dropout.dropout_gain_squared(p)))
    assert dropout.dropout_weight_scale(p) ** 2 * dropout.dropout_gain_squared(p) == pytest.approx(
        1
    )


def two_copies(activation, sigma_w_squared, sigma_b_squared, p, layers=30, width=1000):
    unit, generator = get(activation), np.random.default_rng(1)
    copies = np.repeat(generator.standard_normal((width, 1)), 2, axis=1)
    correlations, squares = [], []
    for layer in range(layers):
        w = math.sqrt(sigma_w_squared / width) * generator.standard_normal((width, width))
        b = math.sqrt(sigma_b_squared) * generator.standard_normal((width, 1))
        h = w @ copies + b
        copies = unit.function(h) * (generator.random((width, 2)) > p) / (1 - p)
        if layer >= layers // 2:
            square = (h**2).mean(axis=0)
            correlations.append((h[:, 0] * h[:, 1]).mean() / np.sqrt(square.prod()))
            squares.append(square.mean())
    return np.mean(squares), np.mean(correlations)


@pytest.mark.parametrize(("weight", "bias", "p"), [(1.5, 0.1, 0.2), (1.0, 0.3, 0.5)])
def test_fixed_point_is_where_two_masks_of_one_input_settle(weight, bias, p):
    q, c = two_copies("tanh", weight, bias, p)
    point = dropout.dropout_correlation_fixed_point(
        "tanh", sigma_w_squared=weight, sigma_b_squared=bias, p=p
    )
    assert point.q == pytest.approx(q, rel=0.05)  # mean of 15 layers of 1000
    assert point.correlation == pytest.approx(c, abs=0.02)
    assert point.correlation < 0.95


def test_without_dropout_the_correlation_returns_to_one():
    point = dropout.dropout_correlation_fixed_point(
        "tanh", sigma_w_squared=1.0, sigma_b_squared=0.3, p=0.0
    )
    assert point.correlation == pytest.approx(1, abs=1e-8)


def test_relu_map_matches_wide_copies():
    _, measured = two_copies("relu", 2.0, 0.0, 0.2)
    c = 1.0
    for _ in range(200):
        c = dropout.relu_dropout_correlation_map(c, 0.2)
    assert c == pytest.approx(measured, abs=0.03)
    assert c == pytest.approx(dropout.relu_dropout_correlation_map(c, 0.2), abs=1e-9)


def test_growth_without_end_is_an_error_that_says_so():
    with pytest.raises(ValueError, match="no fixed point of the variance"):
        dropout.dropout_correlation_fixed_point("relu", sigma_w_squared=2.0, p=0.5)
    with pytest.raises(ValueError, match="`p` must be at least 0 and below 1"):
        dropout.dropout_gain_squared(1.0)
