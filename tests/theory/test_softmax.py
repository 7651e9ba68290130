import math

import numpy as np
import pytest

from isograd.theory import softmax


def probabilities(generator, rows, tokens, logit_sd):
    x = logit_sd * generator.standard_normal((rows, tokens))
    p = np.exp(x - x.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("tokens", [2, 8, 64])
@pytest.mark.parametrize("logit_sd", [0.1, 1.0, 3.0, 10.0, 30.0])
def test_integrals_match_sampled_rows(tokens, logit_sd):
    rows = 20_000
    p = probabilities(np.random.default_rng(0), rows, tokens, logit_sd)
    squares, cubes = (p**2).sum(axis=1), (p**3).sum(axis=1)
    samples = {
        "entropy": -(p * np.log(np.maximum(p, 1e-300))).sum(axis=1),
        "jacobian_norm_squared": squares - 2 * cubes + squares**2,
        "collision": squares,
    }
    predicted = softmax.softmax_moments(tokens, logit_sd)
    for name, values in samples.items():
        error = values.std() / math.sqrt(rows)
        # 4.5 standard errors: 45 comparisons
        assert getattr(predicted, name) == pytest.approx(values.mean(), abs=4.5 * error + 1e-12)


def test_two_tokens_against_plain_quadrature():
    """p = sigmoid of the logits' difference, N(0, 2 s^2): a one-dimensional integral."""
    z = np.linspace(-9, 9, 40001)
    density = np.exp(-z * z / 2) / np.exp(-z * z / 2).sum()
    for s in (0.3, 2.0, 20.0):
        p = 1 / (1 + np.exp(-math.sqrt(2) * s * z))
        predicted = softmax.softmax_moments(2, s)
        norm = density @ (4 * (p * (1 - p)) ** 2)
        assert predicted.jacobian_norm_squared == pytest.approx(norm, rel=1e-8)
        assert predicted.collision == pytest.approx(density @ (p**2 + (1 - p) ** 2), rel=1e-8)


def test_jacobian_norm_of_equal_logits():
    for n in (2, 5, 64):
        jacobian = np.eye(n) / n - np.ones((n, n)) / n**2
        value = softmax.softmax_uniform_jacobian_norm_squared(n)
        assert value == pytest.approx((jacobian**2).sum())
        # ||J||^2 starts as (n - 1)/n^2 (1 + O(s^2))
        assert softmax.softmax_moments(n, 1e-3).jacobian_norm_squared == pytest.approx(
            value, rel=1e-5
        )
        assert softmax.softmax_moments(n, 1e-3).entropy == pytest.approx(math.log(n), rel=1e-5)


def test_gain_rises_before_it_falls_but_entropy_only_falls():
    found = [softmax.softmax_moments(64, s) for s in (0.1, 1.0, 3.0, 10.0, 30.0)]
    gains = [m.gain_squared for m in found]
    assert gains[0] < gains[1] < gains[2] > gains[3] > gains[4]
    entropies = [m.entropy_fraction for m in found]
    assert entropies == sorted(entropies, reverse=True)
    # sampled by others of 64 tokens: .999 .886 .436 .110 .034
    assert entropies == pytest.approx([0.999, 0.886, 0.436, 0.110, 0.034], abs=0.004)
