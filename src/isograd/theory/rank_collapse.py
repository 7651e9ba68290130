r"""Rank collapse: attention makes tokens alike, and then some gradients die.

Tokens are $x_i = \sqrt{r} c + \sqrt{1 - r} e_i$, with r the correlation of two tokens. The maps
below are our derivation for uniform attention (queries and keys that do not matter yet) and
wide layers; Dong, Cordonnier and Loukas (2021) and Noci et al. (2022) describe the phenomenon.

For pure attention, without skip paths or feed-forward layers, Dong et al. prove that the
distance from rank one shrinks doubly exponentially with depth, about cubed by every layer. The
constant in that bound is too loose to predict with, so only the measure is offered here:
`rank_residual`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from isograd.theory.ranges import at_least, between, count

__all__ = [
    "collapsed_gain_squared",
    "query_value_gradient_ratio",
    "rank_residual",
    "token_correlation",
    "token_correlation_after",
    "uniform_attention_correlation_map",
]


def uniform_attention_correlation_map(
    correlation: float, tokens: int, *, branch_second_moment: float = 1.0
) -> float:
    r"""Token correlation after `norm(x + attention(x))` with uniform attention.

    $r' = (r + v m) / (1 + v m)$ with $m = (1 + (n - 1) r) / n$, the variance of the mean token.
    Near collapse 1 - r shrinks by 1/(1 + v) per layer.

    Args:
        correlation: r, in [-1/(n - 1), 1].
        tokens: n.
        branch_second_moment: v, output variance of the branch for equal tokens of unit variance:
            the product of the sigma_w_squared of value and output projections.

    Returns:
        r'.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> uniform_attention_correlation_map(0.0, 4)
        0.2
    """
    n, v = count("tokens", tokens), at_least("branch_second_moment", branch_second_moment, 0)
    r = between("correlation", correlation, -1 / max(n - 1, 1), 1)
    mixed = v * (1 + (n - 1) * r) / n
    return (r + mixed) / (1 + mixed)


def token_correlation_after(
    layers: int, tokens: int, *, correlation: float = 0.0, branch_second_moment: float = 1.0
) -> float:
    """Token correlation after L layers of `norm(x + attention(x))`, by iterating the map.

    Args:
        layers: L.
        tokens: n.
        correlation: Of the input's tokens.
        branch_second_moment: v, see `uniform_attention_correlation_map`.

    Returns:
        r after L layers; it tends to 1.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> round(token_correlation_after(24, 32), 6)
        0.999998
    """
    r = float(correlation)
    for _ in range(count("layers", layers, 0)):
        r = uniform_attention_correlation_map(r, tokens, branch_second_moment=branch_second_moment)
    return r


def collapsed_gain_squared(layers: int, tokens: int, *, branch_second_moment: float = 1.0) -> float:
    r"""gain^2 over L post-norm attention layers whose tokens have already collapsed.

    $1/n + (1 - 1/n)(1 + v)^{-L}$: the part of a white gradient that is equal for all tokens
    survives whole, the part that tells tokens apart dies by 1/(1 + v) per layer.

    Args:
        layers: L.
        tokens: n.
        branch_second_moment: v, see `uniform_attention_correlation_map`.

    Returns:
        gain^2, between 1/n and 1.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> round(collapsed_gain_squared(4, 32), 4), round(collapsed_gain_squared(10, 32), 4)
        (0.0918, 0.0322)
    """
    n, v = count("tokens", tokens), at_least("branch_second_moment", branch_second_moment, 0)
    return 1 / n + (1 - 1 / n) * (1 + v) ** -count("layers", layers, 0)


def query_value_gradient_ratio(
    correlation: float,
    tokens: int,
    width: int,
    *,
    key_sigma_squared: float = 1.0,
    value_sigma_squared: float = 1.0,
) -> float:
    r"""Norm of the query weights' gradient over that of the value weights', one head.

    $(1 - r) \sqrt{\frac{s_K s_V (n - 1)(n + d)}{n d (1 + (n - 1) r)}}$ for uniform attention
    with scores $q k / \sqrt{d_k}$, unit tokens and a white gradient at the attention's output.
    The softmax's Jacobian removes what all values share, and the sum over keys what all keys
    share: each costs $\sqrt{1 - r}$ (the effect of Noci et al., 2022; the constant is ours).
    The same number holds for the key weights with $s_Q$ in place of $s_K$.

    Args:
        correlation: r of two tokens, in [0, 1].
        tokens: n, at least 2.
        width: d, features of a token.
        key_sigma_squared: s_K, fan_in Var of the key weights.
        value_sigma_squared: s_V, fan_in Var of the value weights.

    Returns:
        A ratio of amplitudes; 0 at r = 1: collapsed tokens leave nothing to attend to.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> query_value_gradient_ratio(1.0, 32, 128)
        0.0
        >>> round(query_value_gradient_ratio(0.9, 32, 128), 4)
        0.0205
    """
    n, d = count("tokens", tokens, 2), count("width", width)
    r = between("correlation", correlation, 0, 1)
    scale = at_least("key_sigma_squared", key_sigma_squared, 0)
    scale *= at_least("value_sigma_squared", value_sigma_squared, 0)
    return (1 - r) * math.sqrt(scale * (n - 1) * (n + d) / (n * d * (1 + (n - 1) * r)))


def token_correlation(tokens: ArrayLike) -> float:
    r"""Mean cosine of different tokens, as measured: $\sum_{i \ne j} \cos(x_i, x_j) / (n (n - 1))$.

    Args:
        tokens: `[n, d]`, n at least 2; no row may be zero.

    Returns:
        In [-1/(n - 1), 1]; 1 when all tokens point the same way.

    Raises:
        ValueError: If the shape is another or a token is zero.

    Example:
        >>> token_correlation([[1.0, 0.0], [0.0, 2.0]])
        0.0
    """
    x = _matrix(tokens)
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    if not (norms > 0).all():
        raise ValueError("a token is zero; its direction, and so the correlation, is undefined.")
    n = len(x)
    total = ((x / norms).sum(axis=0) ** 2).sum()
    return float((total - n) / (n * (n - 1)))


def rank_residual(tokens: ArrayLike) -> float:
    r"""Distance from rank one, as measured: $||X - 1 \bar{x}^T|| / ||X||$ (Frobenius).

    The quantity Dong et al. (2021) follow, in the Frobenius norm.

    Args:
        tokens: `[n, d]`, n at least 2.

    Returns:
        In [0, 1]; 0 when all tokens are equal.

    Raises:
        ValueError: If the shape is another or all tokens are zero.

    Example:
        >>> rank_residual([[1.0, 2.0], [1.0, 2.0]])
        0.0
    """
    x = _matrix(tokens)
    norm = np.linalg.norm(x)
    if norm == 0:
        raise ValueError("all tokens are zero; a relative distance is undefined.")
    return float(np.linalg.norm(x - x.mean(axis=0)) / norm)


def _matrix(tokens: ArrayLike) -> np.ndarray:
    x = np.asarray(tokens, dtype=float)
    if x.ndim != 2 or len(x) < 2:
        raise ValueError(f"`tokens` must be [n, d] with n at least 2, got shape {x.shape}.")
    return x
