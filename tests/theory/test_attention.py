import math

import numpy as np
import pytest

from isograd.theory import attention, moments
from isograd.theory.softmax import softmax_moments


@pytest.mark.parametrize("variance", [0.25, 1.0, 4.0])
@pytest.mark.parametrize(
    ("name", "part"), [("relu", attention.relu_moments), ("gelu", attention.gelu_moments)]
)
def test_closed_forms_of_activations_against_quadrature(name, part, variance):
    found = part(variance)
    assert found.mean == pytest.approx(moments.mean(name, variance), rel=1e-9)
    assert found.variance == pytest.approx(moments.variance(name, variance), rel=1e-9)
    slope = moments.mean_square_derivative(name, variance)
    assert found.gain_squared == pytest.approx(slope, rel=1e-9)


def test_gelu_at_two_has_the_known_values():
    found = attention.gelu_moments(4.0)
    assert found.mean == pytest.approx(0.71365, abs=5e-6)
    assert found.variance == pytest.approx(1.42057, abs=5e-6)
    assert found.gain_squared == pytest.approx(0.50604, abs=5e-6)


@pytest.mark.parametrize("correlation", [-0.5, 0.0, 0.8, 1.0])
def test_relu_gradient_covariance_is_the_derivative_kernel(correlation):
    value = attention.relu_gradient_covariance(correlation)
    kernel = moments.derivative_kernel("relu", c=correlation)
    assert value == pytest.approx(kernel, rel=1e-12)


def test_linear_and_dropout_against_samples():
    generator = np.random.default_rng(0)
    x = 0.7 + 1.5 * generator.standard_normal((400, 300))
    w = 0.2 * generator.standard_normal((300, 500))
    found = attention.linear_moments(300, 500, 0.04, variance=2.25, mean=0.7)
    assert found.variance == pytest.approx((x @ w).var(), rel=0.05)  # one draw of 300 x 500
    g = generator.standard_normal((400, 500)) @ w.T
    assert found.gain_squared == pytest.approx(g.var(), rel=0.03)
    masked = x * (generator.random(x.shape) > 0.3) / 0.7
    dropped = attention.dropout_moments(0.3, variance=2.25, mean=0.7)
    assert dropped.mean == pytest.approx(masked.mean(), rel=0.03)
    assert dropped.variance == pytest.approx(masked.var(), rel=0.03)


def test_softmax_variance_is_the_limit_of_many_tokens():
    for sd in (0.5, 1.0):
        n = 20_000
        exact = softmax_moments(n, sd).collision / n - 1 / n**2
        assert attention.softmax_variance(n, sd**2) == pytest.approx(exact, rel=0.01)
    assert attention.softmax_variance(512, 1.0) * 512**2 == pytest.approx(1.718, abs=5e-4)
    assert attention.softmax_variance(512, 3.0, correlation=1.0) == 0


@pytest.mark.parametrize(("correlation", "sd"), [(0.0, 0.0), (0.3, 0.7), (0.9, 1.0)])
def test_attention_against_samples(correlation, sd):
    """Logits drawn apart from the tokens, 128 tokens of 64 features."""
    generator, n, d = np.random.default_rng(0), 128, 64
    forward, backward = [], []
    for _ in range(100):
        shared = generator.standard_normal((2, 1, d))
        x, g = math.sqrt(correlation) * shared + math.sqrt(
            1 - correlation
        ) * generator.standard_normal((2, n, d))
        w = generator.standard_normal((d, d)) / math.sqrt(d)
        p = np.exp(sd * generator.standard_normal((n, n)))
        p /= p.sum(axis=1, keepdims=True)
        forward.append(((p @ x @ w) ** 2).mean())
        backward.append(((p.T @ g @ w.T) ** 2).mean())
    found = attention.attention_moments(
        n, d, 1 / d, logit_variance=sd**2, correlation=correlation, gradient_correlation=correlation
    )
    # What the tokens share is one vector of 64 features: 25 % a draw, 2.5 % for 100. The formula
    # takes the attention as uniform backward, which costs 1 % here.
    assert found.variance == pytest.approx(np.mean(forward), rel=0.08)
    assert found.gain_squared == pytest.approx(np.mean(backward), rel=0.09)


def test_layer_norm_keeps_the_two_lost_directions():
    assert attention.layer_norm_moments(2.0, 10).gain_squared == pytest.approx(0.4)
    with pytest.raises(ValueError, match="`variance` must be finite and above 0"):
        attention.layer_norm_moments(0.0, 10)
