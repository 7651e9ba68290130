import math

import numpy as np
import pytest

from isograd.theory import rank_collapse as collapse


def layer_norm(x):
    return (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)


def tokens(generator, n, d, correlation):
    shared = generator.standard_normal((1, d))
    own = generator.standard_normal((n, d))
    return math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own


@pytest.mark.parametrize("v", [0.5, 1.0])
def test_correlation_map_follows_uniform_attention(v):
    generator, n, d, layers = np.random.default_rng(0), 16, 300, 8
    measured = []
    for _ in range(16):
        x = layer_norm(tokens(generator, n, d, 0.0))
        measured.append([])
        for _ in range(layers):
            w = math.sqrt(v / d) * generator.standard_normal((d, d))
            x = layer_norm(x + x.mean(axis=0) @ w)
            measured[-1].append(collapse.token_correlation(x))
    predicted = [
        collapse.token_correlation_after(layer, n, branch_second_moment=v)
        for layer in range(1, layers + 1)
    ]
    # the mean token's length scatters by 8 % and early layers amplify it; 16 draws
    assert np.mean(measured, axis=0) == pytest.approx(predicted, abs=0.03)
    once = collapse.uniform_attention_correlation_map(0.999, n, branch_second_moment=v)
    assert (1 - once) / 0.001 == pytest.approx(1 / (1 + v), rel=1e-3)


@pytest.mark.parametrize("layers", [1, 4])
def test_gradient_of_collapsed_tokens(layers):
    generator, n, d, v = np.random.default_rng(1), 16, 200, 1.0
    ratios = []
    for _ in range(100):
        g = generator.standard_normal((n, d))
        size = (g**2).sum()
        for _ in range(layers):
            # Collapsed: every token is the same vector, so every norm divides by the same number.
            w = math.sqrt(v / d) * generator.standard_normal((d, d))
            g = g / math.sqrt(1 + v)
            g = g + np.ones((n, 1)) * (g.mean(axis=0) @ w.T)
        ratios.append((g**2).sum() / size)
    predicted = collapse.collapsed_gain_squared(layers, n, branch_second_moment=v)
    # the mean token's share scatters by 20 % a draw, 2 % for 100
    assert np.mean(ratios) == pytest.approx(predicted, rel=0.06)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9, 0.99])
def test_query_gradient_dies_with_the_distance_of_tokens(correlation):
    """Brute force through softmax(x Wq Wk' x' / sqrt d) x Wv at Wq = 0: uniform attention."""
    generator, n, d = np.random.default_rng(0), 24, 96
    squares = []
    for _ in range(40):
        x, g = tokens(generator, n, d, correlation), generator.standard_normal((n, d))
        key, value = generator.standard_normal((2, d, d)) / math.sqrt(d)
        p = np.full((n, n), 1 / n)
        d_value = x.T @ p.T @ g
        d_p = g @ (x @ value).T
        d_score = p * (d_p - (p * d_p).sum(axis=1, keepdims=True))
        d_query = x.T @ (d_score @ (x @ key) / math.sqrt(d))
        squares.append([(d_query**2).sum(), (d_value**2).sum()])
    query, value = np.mean(squares, axis=0)
    predicted = collapse.query_value_gradient_ratio(correlation, n, d)
    # 40 draws of 96 features scatter by 3 %
    assert math.sqrt(query / value) == pytest.approx(predicted, rel=0.08)


def test_pure_attention_loses_rank_doubly_exponentially():
    """The statement of Dong et al. (2021): each layer about cubes the residual."""
    generator, n, d = np.random.default_rng(0), 16, 64
    x = generator.standard_normal((n, d))
    residuals = [collapse.rank_residual(x)]
    for _ in range(4):
        query, key, value = generator.standard_normal((3, d, d)) / math.sqrt(d)
        scores = (x @ query) @ (x @ key).T / math.sqrt(d)
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        x = (p / p.sum(axis=1, keepdims=True)) @ x @ value
        residuals.append(collapse.rank_residual(x))
    logs = np.log(residuals)
    falls = np.diff(logs)
    assert (np.diff(falls[1:]) < 0).all()  # faster and faster
    assert logs[-1] < 2.2 * logs[-2]


def test_measures_refuse_what_has_no_direction():
    with pytest.raises(ValueError, match="a token is zero"):
        collapse.token_correlation([[0.0, 0.0], [1.0, 0.0]])
    with pytest.raises(ValueError, match=r"got shape \(3,\)"):
        collapse.rank_residual([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="correlation"):
        collapse.uniform_attention_correlation_map(-0.5, 4)
