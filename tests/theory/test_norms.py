import itertools
import math

import numpy as np
import pytest

from isograd.theory import norms


def jacobian(f, x, h=1e-6):
    """Central differences, [out, in]; error about h^2."""
    columns = [(f(x + h * e) - f(x - h * e)) / (2 * h) for e in np.eye(len(x))]
    return np.stack(columns, axis=1)


def layer_norm(x, eps):
    return (x - x.mean()) / np.sqrt(x.var() + eps)


def rms_norm(x, eps):
    return x / np.sqrt((x**2).mean() + eps)


@pytest.mark.parametrize("eps", [0.0, 0.7])
def test_one_norm_has_exactly_this_jacobian(eps):
    x = 3 + 2 * np.random.default_rng(0).standard_normal(7)
    layer = (jacobian(lambda v: layer_norm(v, eps), x) ** 2).sum() / 7
    rms = (jacobian(lambda v: rms_norm(v, eps), x) ** 2).sum() / 7
    # 1e-8: truncation of the differences
    assert norms.layer_norm_gain_squared(7, x.var(), eps=eps) == pytest.approx(layer, rel=1e-8)
    assert norms.rms_norm_gain_squared(7, (x**2).mean(), eps=eps) == pytest.approx(rms, rel=1e-8)
    assert norms.batch_norm_gain_squared(7, x.var(), eps=eps) == pytest.approx(layer, rel=1e-8)


KNOWN_BEHIND_LAYER_NORM = {
    "relu": 1.0,
    "tanh": 1.177807,
    "gelu": 1.072032,
    "silu": 1.066634,
    "elu": 1.035905,
    "selu": 1.071575,
    "sigmoid": 0.152827,
}


@pytest.mark.parametrize(("name", "value"), KNOWN_BEHIND_LAYER_NORM.items())
def test_a_norm_before_the_activation_gives_the_known_gain(name, value):
    assert norms.pre_activation_norm_gain_squared(name) == pytest.approx(value, abs=6e-7)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("relu", math.pi / (math.pi - 1)),
        ("gelu", 1.318845),
        ("silu", 1.212081),
        ("tanh", 1.177807),
        ("sigmoid", 1.033592),
    ],
)
def test_batch_norm_of_a_large_batch_gives_the_known_gain(name, value):
    assert norms.wide_batch_norm_mlp_gain_squared(name) == pytest.approx(value, abs=6e-7)


@pytest.mark.parametrize("batch", [4, 8, 16, 1000])
def test_linear_batch_norm_is_b_minus_2_over_b_minus_3(batch):
    value = norms.batch_norm_mlp_gain_squared(batch, negative_slope=1.0)
    assert value == pytest.approx((batch - 2) / (batch - 3), rel=1e-9)


def test_relu_batch_norm_tends_to_the_large_batch_value():
    limit = norms.wide_batch_norm_mlp_gain_squared("relu")
    # The next term is about 1.75 / B.
    assert norms.batch_norm_mlp_gain_squared(100_000) == pytest.approx(limit, rel=2e-5)


def measured_batch_norm(generator, batch, width, layers, slope):
    """Mean gain^2 per layer of a numpy net: linear, batch norm, leaky ReLU."""
    x, outputs, deviations, weights = generator.standard_normal((width, batch)), [], [], []
    for _ in range(layers):
        weights.append(generator.standard_normal((width, width)) / math.sqrt(width))
        h = weights[-1] @ x
        deviations.append(h.std(axis=1, keepdims=True))
        outputs.append((h - h.mean(axis=1, keepdims=True)) / deviations[-1])
        x = np.where(outputs[-1] > 0, outputs[-1], slope * outputs[-1])
    g = generator.standard_normal((width, batch)) * np.where(outputs[-1] > 0, 1, slope)
    sizes = [(g**2).sum()]
    for layer in range(layers - 1, 0, -1):
        y = outputs[layer]
        g = g - g.mean(axis=1, keepdims=True) - y * (g * y).mean(axis=1, keepdims=True)
        g = (weights[layer].T @ (g / deviations[layer])) * np.where(
            outputs[layer - 1] > 0, 1, slope
        )
        sizes.append((g**2).sum())
    # The first and last layers have not reached the symmetric state.
    return np.mean([b / a for a, b in itertools.pairwise(sizes[2:-2])])


@pytest.mark.parametrize(("batch", "slope"), [(16, 0.0), (32, 0.0), (32, -1.0), (32, 0.3)])
def test_finite_batch_formula_matches_a_wide_net(batch, slope):
    generator = np.random.default_rng(1)
    measured = [measured_batch_norm(generator, batch, 400, 14, slope) for _ in range(4)]
    predicted = norms.batch_norm_mlp_gain_squared(batch, negative_slope=slope)
    # Standard error over the four nets is about 1 %; the large-batch value is 4 to 8 % lower.
    assert np.mean(measured) == pytest.approx(predicted, rel=0.025)


@pytest.mark.parametrize("name", ["tanh", "gelu"])
def test_layer_norm_net_of_any_weight_scale_has_the_predicted_gain(name):
    from isograd.theory.activations import get

    unit, generator = get(name), np.random.default_rng(0)
    width, scale = 1500, 5.0
    x, weights, records = generator.standard_normal(width), [], []
    for _ in range(5):
        weights.append(scale * generator.standard_normal((width, width)) / math.sqrt(width))
        h = weights[-1] @ x
        y = layer_norm(h, 0.0)
        records.append((y, h.std()))
        x = unit.function(y)
    g, sizes = generator.standard_normal(width), []
    for w, (y, deviation) in zip(reversed(weights), reversed(records), strict=True):
        g = g * unit.derivative(y)
        sizes.append((g**2).sum())
        g = w.T @ ((g - g.mean() - y * (g * y).mean()) / deviation)
    gain_squared = (sizes[-1] / sizes[0]) ** (1 / 4)
    # sqrt(2 / 1500) = 4 % per layer, averaged over four
    predicted = norms.pre_activation_norm_gain_squared(name)
    assert gain_squared == pytest.approx(predicted, rel=0.05)


def test_impossible_numbers_are_refused():
    with pytest.raises(ValueError, match="`width` must be a whole number, at least 2"):
        norms.layer_norm_gain_squared(1, 1.0)
    with pytest.raises(ValueError, match="input_variance"):
        norms.layer_norm_gain_squared(4, 0.0)
    with pytest.raises(ValueError, match="`batch` must be a whole number, at least 4"):
        norms.batch_norm_mlp_gain_squared(3)
