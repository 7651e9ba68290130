r"""Dropout: factors of both directions, and the correlation it can never restore.

With keep probability 1 - p and the usual 1/(1 - p) rescaling, the mean of every unit is kept and
its second moment grows by 1/(1 - p), forward and backward alike. Schoenholz et al. (2017, section
5): two copies of one input meet different masks, so a correlation of 1 is no fixed point any
more, and the edge of chaos with its infinite depth scale is gone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from isograd.theory.activations import ActivationLike
from isograd.theory.moments import kernel, mean_square
from isograd.theory.ranges import at_least, between, count

__all__ = [
    "DropoutFixedPoint",
    "dropout_correlation_fixed_point",
    "dropout_gain_squared",
    "dropout_log_gain_squared",
    "dropout_weight_scale",
    "relu_dropout_correlation_map",
]


@dataclass(frozen=True, slots=True)
class DropoutFixedPoint:
    """Where a deep net with dropout settles.

    Attributes:
        q: Variance of the pre-activation.
        correlation: Of the pre-activations of one input under two masks; below 1 if p > 0.
    """

    q: float
    correlation: float


def dropout_gain_squared(p: float) -> float:
    """Factor of one dropout layer on second moments, forward and backward: 1/(1 - p).

    Args:
        p: Probability that a unit is dropped, below 1.

    Returns:
        gain^2, at least 1. Forward it applies to E x^2, not to the variance of x.

    Raises:
        ValueError: If `p` is outside [0, 1).

    Example:
        >>> dropout_gain_squared(0.5)
        2.0
    """
    return 1 / (1 - between("p", p, 0, 1, below_high=True))


def dropout_log_gain_squared(p: float, layers: int) -> float:
    """Ln gain^2 of a deep He-initialised ReLU net with dropout after every layer, -L ln(1 - p).

    Args:
        p: Probability that a unit is dropped, below 1.
        layers: L.

    Returns:
        Natural log of gain^2, forward and backward.

    Raises:
        ValueError: If a number is out of range.

    Example:
        Fifty layers at 20 % multiply the squared gradient by 70,000:

        >>> round(math.exp(dropout_log_gain_squared(0.2, 50)))
        70065
    """
    share = between("p", p, 0, 1, below_high=True)
    return -count("layers", layers, 0) * math.log1p(-share)


def dropout_weight_scale(p: float) -> float:
    """Factor on the weights' standard deviation that takes dropout's growth out, sqrt(1 - p).

    Args:
        p: Probability that a unit is dropped, below 1.

    Returns:
        A factor, at most 1.

    Raises:
        ValueError: If `p` is outside [0, 1).

    Example:
        >>> dropout_weight_scale(0.75)
        0.5
    """
    return math.sqrt(1 - between("p", p, 0, 1, below_high=True))


def relu_dropout_correlation_map(correlation: float, p: float) -> float:
    r"""Correlation of two copies after one more ReLU layer without bias, with dropout.

    $c' = (1 - p) \kappa(c)$, $\kappa(c) = (\sqrt{1 - c^2} + c (\pi - \arccos c)) / \pi$, the
    arc-cosine kernel (Cho and Saul, 2009), at any weight scale.

    Args:
        correlation: c, in [-1, 1].
        p: Probability that a unit is dropped, below 1.

    Returns:
        c'. Two copies of one input (c = 1) keep 1 - p of their correlation.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> relu_dropout_correlation_map(1.0, 0.25)
        0.75
    """
    c = between("correlation", correlation, -1, 1)
    keep = 1 - between("p", p, 0, 1, below_high=True)
    return keep * (math.sqrt((1 - c) * (1 + c)) + c * (math.pi - math.acos(c))) / math.pi


def dropout_correlation_fixed_point(
    activation: ActivationLike,
    *,
    sigma_w_squared: float,
    sigma_b_squared: float = 0.0,
    p: float,
    tolerance: float = 1e-10,
    steps: int = 2000,
) -> DropoutFixedPoint:
    r"""Variance and correlation that a deep net with dropout settles at (Schoenholz et al., 2017).

    $q' = \sigma_w^2 E \phi^2 / (1 - p) + \sigma_b^2$ and
    $c' q' = \sigma_w^2 E \phi(u) \phi(v) + \sigma_b^2$, iterated from q = 1 and c = 1. For
    activations without a finite fixed point of q, such as ReLU, use
    `relu_dropout_correlation_map`.

    Args:
        activation: Name, function or record.
        sigma_w_squared: fan_in Var[W].
        sigma_b_squared: Var[b].
        p: Probability that a unit is dropped, below 1.
        tolerance: Largest change of q (relative) and c in the last step.
        steps: Steps allowed.

    Returns:
        The fixed point.

    Raises:
        ValueError: If a number is out of range, or q does not settle within `steps`.

    Example:
        Without dropout an ordered tanh net forgets all differences:

        >>> round(dropout_correlation_fixed_point("tanh", sigma_w_squared=1.0,
        ...     sigma_b_squared=0.1, p=0.0).correlation, 9)
        1.0
    """
    weight = at_least("sigma_w_squared", sigma_w_squared, 0)
    bias = at_least("sigma_b_squared", sigma_b_squared, 0)
    keep = 1 - between("p", p, 0, 1, below_high=True)
    q = 1.0
    for _ in range(steps):
        fresh = weight * mean_square(activation, q) / keep + bias
        change, q = abs(fresh - q), fresh
        if not 1e-12 < q < 1e12:
            break
        if change <= tolerance * q:
            return DropoutFixedPoint(q, _settle(activation, weight, bias, q, tolerance, steps))
    raise ValueError(
        f"`{activation}` has no fixed point of the variance at sigma_w_squared={weight:g}, "
        f"sigma_b_squared={bias:g}, p={p:g}: it reached {q:g} within {steps} steps."
    )


def _settle(
    activation: ActivationLike, weight: float, bias: float, q: float, tolerance: float, steps: int
) -> float:
    c = 1.0
    for _ in range(steps):
        fresh = min(1.0, (weight * kernel(activation, q, q, c) + bias) / q)
        if abs(fresh - c) <= tolerance:
            return fresh
        c = fresh
    return c
