r"""Moments through the parts of a transformer, after Kedia et al. (2024, DeepScaleLM).

Every part maps the mean and variance of its input, and the correlation of tokens, to those of its
output, and the variance of the gradient at its output to that at its input. Inputs are taken as
Gaussian and elements of a token as independent. `gain_squared` here is per element: variance of the
gradient at one input element over that at one output element, as the paper counts it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from isograd.theory.ranges import at_least, between, count

__all__ = [
    "PartMoments",
    "attention_moments",
    "dropout_moments",
    "gelu_moments",
    "layer_norm_moments",
    "linear_moments",
    "relu_gradient_covariance",
    "relu_moments",
    "softmax_variance",
]


@dataclass(frozen=True, slots=True)
class PartMoments:
    """What leaves one part.

    Attributes:
        mean: Of an output element.
        variance: Of an output element.
        gain_squared: Gradient variance at an input element / at an output element.
    """

    mean: float
    variance: float
    gain_squared: float


def linear_moments(
    fan_in: int, fan_out: int, weight_variance: float, *, variance: float = 1.0, mean: float = 0.0
) -> PartMoments:
    r"""A linear layer: variance $d_{in} s_w^2 (s^2 + \mu^2)$, gradient $d_{out} s_w^2$.

    Args:
        fan_in: d_in.
        fan_out: d_out.
        weight_variance: s_w^2.
        variance: s^2 of the input.
        mean: mu of the input; it acts like variance, because the weights have mean 0.

    Returns:
        Moments; Kedia et al. (2024).

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> linear_moments(256, 1024, 1 / 256)
        PartMoments(mean=0.0, variance=1.0, gain_squared=4.0)
    """
    weight = at_least("weight_variance", weight_variance, 0)
    second = at_least("variance", variance, 0) + mean**2
    forward = count("fan_in", fan_in) * weight * second
    return PartMoments(0.0, forward, count("fan_out", fan_out) * weight)


def relu_moments(variance: float = 1.0) -> PartMoments:
    r"""ReLU of a mean-free input.

    Mean $s/\sqrt{2\pi}$, variance $s^2 (\pi - 1)/(2\pi)$, gradient 1/2.

    Args:
        variance: s^2 of the input.

    Returns:
        Moments; Kedia et al. (2024).

    Raises:
        ValueError: If `variance` is negative.

    Example:
        >>> round(relu_moments().variance, 6), relu_moments().gain_squared
        (0.340845, 0.5)
    """
    s2 = at_least("variance", variance, 0)
    return PartMoments(
        math.sqrt(s2 / (2 * math.pi)), s2 * (math.pi - 1) / (2 * math.pi), gain_squared=0.5
    )


def relu_gradient_covariance(correlation: float) -> float:
    r"""Share of the gradient covariance of two tokens that ReLU passes, $1/4 + asin(r)/(2\pi)$.

    Args:
        correlation: r, of the two tokens' inputs.

    Returns:
        Probability that both units are live; 1/2 at r = 1, 1/4 at r = 0.

    Raises:
        ValueError: If `correlation` is outside [-1, 1].

    Example:
        >>> relu_gradient_covariance(0.0)
        0.25
    """
    return 0.25 + math.asin(between("correlation", correlation, -1, 1)) / (2 * math.pi)


def gelu_moments(variance: float = 1.0) -> PartMoments:
    r"""GELU of a mean-free input.

    With $a = s^2/(1 + s^2)$: mean $s \sqrt{a/(2\pi)}$, variance
    $\frac{s^2}{2\pi}(\pi - a - \arccos a + 2 a \sqrt{(1 - a)/(1 + a)})$, gradient
    $\frac12 + \frac{1}{2\pi}(-\arccos a + a (5 s^2 + 3)/(1 + 2 s^2)^{3/2})$.

    Args:
        variance: s^2 of the input.

    Returns:
        Moments; Kedia et al. (2024).

    Raises:
        ValueError: If `variance` is negative.

    Example:
        >>> [round(x, 5) for x in (gelu_moments().mean, gelu_moments().variance)]
        [0.28209, 0.34564]
        >>> round(gelu_moments().gain_squared, 5)
        0.45585
    """
    s2 = at_least("variance", variance, 0)
    a = s2 / (1 + s2)
    root = 2 * a * math.sqrt((1 - a) / (1 + a))
    angle = math.acos(a)
    return PartMoments(
        math.sqrt(s2 * a / (2 * math.pi)),
        s2 / (2 * math.pi) * (math.pi - a - angle + root),
        0.5 + (a * (5 * s2 + 3) / (1 + 2 * s2) ** 1.5 - angle) / (2 * math.pi),
    )


def dropout_moments(p: float, *, variance: float = 1.0, mean: float = 0.0) -> PartMoments:
    r"""Dropout: mean kept, variance $(s^2 + p \mu^2)/(1 - p)$, gradient $1/(1 - p)$.

    Args:
        p: Probability that an element is dropped, below 1.
        variance: s^2 of the input.
        mean: mu of the input.

    Returns:
        Moments; Kedia et al. (2024).

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> dropout_moments(0.5, mean=1.0)
        PartMoments(mean=1.0, variance=3.0, gain_squared=2.0)
    """
    keep = 1 - between("p", p, 0, 1, below_high=True)
    s2 = at_least("variance", variance, 0)
    return PartMoments(float(mean), (s2 + p * mean**2) / keep, 1 / keep)


def layer_norm_moments(variance: float, width: int) -> PartMoments:
    r"""LayerNorm: variance 1, gradient $(1 - 2/d)/s^2$.

    Kedia et al. (2024) drop the 2/d; `norms.layer_norm_gain_squared` has it, and so has this.

    Args:
        variance: s^2 of the input, above 0.
        width: d, at least 2.

    Returns:
        Moments.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> layer_norm_moments(4.0, 64)
        PartMoments(mean=0.0, variance=1.0, gain_squared=0.2421875)
    """
    s2 = at_least("variance", variance, 0, strictly=True)
    return PartMoments(0.0, 1.0, (1 - 2 / count("width", width, 2)) / s2)


def softmax_variance(tokens: int, logit_variance: float, *, correlation: float = 0.0) -> float:
    r"""Variance of a softmax's outputs, $(e^{s^2 (1 - r)} - 1)/n^2$, for many tokens.

    Args:
        tokens: n; the formula is for n far above $e^{s^2}$. `softmax.softmax_moments` is exact.
        logit_variance: s^2.
        correlation: r of two logits of a row; what they share drops out.

    Returns:
        Variance of one probability around 1/n.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> round(512**2 * softmax_variance(512, 0.25), 5)
        0.28403
    """
    s2 = at_least("logit_variance", logit_variance, 0)
    r = between("correlation", correlation, -1, 1)
    return math.expm1(s2 * (1 - r)) / count("tokens", tokens) ** 2


def attention_moments(
    tokens: int,
    width: int,
    value_weight_variance: float,
    *,
    logit_variance: float = 0.0,
    correlation: float = 0.0,
    gradient_correlation: float = 0.0,
) -> PartMoments:
    r"""One attention head on unit tokens, through its values.

    Variance $(r + (1 - r) e^{s^2}/n) d s_V^2$, gradient $d s_V^2 (1 + (n - 1) r_g)/n$; s^2 is the
    variance of a row's logits around their mean. The path through queries and keys is left out.

    Args:
        tokens: n.
        width: d, for input and output of the value projection.
        value_weight_variance: s_V^2.
        logit_variance: s^2.
        correlation: r of two tokens.
        gradient_correlation: r_g of the gradients of two tokens.

    Returns:
        Moments; Kedia et al. (2024), whose own gradient errors are 13 % at the 90th and 44 % at
        the 99th percentile of their settings.

    Raises:
        ValueError: If a number is out of range.

    Example:
        White tokens lose their variance to the average, equal tokens keep it:

        >>> attention_moments(32, 64, 1 / 64).variance
        0.03125
        >>> attention_moments(32, 64, 1 / 64, correlation=1.0).variance
        1.0
    """
    n = count("tokens", tokens)
    scale = count("width", width) * at_least("value_weight_variance", value_weight_variance, 0)
    r = between("correlation", correlation, -1, 1)
    rg = between("gradient_correlation", gradient_correlation, -1, 1)
    spread = math.exp(at_least("logit_variance", logit_variance, 0)) / n
    return PartMoments(0.0, (r + (1 - r) * spread) * scale, scale * (1 + (n - 1) * rg) / n)
