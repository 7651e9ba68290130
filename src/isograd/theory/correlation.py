r"""The correlation map: how alike two inputs are after each layer.

Two inputs with the same pre-activation variance q and correlation c give (Poole et al., 2016)

    c' = (sigma_w^2 E[phi(u) phi(v)] + sigma_b^2) / q',   u, v of variance q, correlation c

At a fixed point q* of the variance map c = 1 is a fixed point of this one, and its slope there is
chi_1. If chi_1 < 1 all inputs become alike (ordered); if chi_1 > 1 close inputs part (chaotic) and
c goes to a stable c* below 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isograd.theory.activation import Activation
from isograd.theory.activations import ActivationLike, get
from isograd.theory.gaussian import expect_pair
from isograd.theory.moments import derivative_kernel, kernel, mean_square_derivative
from isograd.theory.qmap import q_map
from isograd.theory.ranges import at_least, between, count
from isograd.theory.roots import root_between

__all__ = [
    "CorrelationPoint",
    "chi_c",
    "correlation_fixed_points",
    "correlation_map",
    "correlation_trajectory",
    "stable_correlation",
]

# Closer to 1 the quotient (1 - c') / (1 - c) takes its limit, the slope at 1.
_AT_ONE = 1e-12
# How far a slope is taken for 1.
_MARGIN = 1e-9


@dataclass(frozen=True, slots=True)
class CorrelationPoint:
    """One fixed point of the correlation map.

    Attributes:
        c: The correlation, in [-1, 1].
        slope: Derivative dc'/dc there.
        stable: Whether correlations near it go to it. At slope 1 and c = 1 (ReLU at its critical
            weights) they do so, but by a power of the depth.
    """

    c: float
    slope: float
    stable: bool


def correlation_map(
    c: float, activation: ActivationLike, sigma_w: float, sigma_b: float = 0.0, *, q: float = 1.0
) -> float:
    r"""Correlation of two inputs' pre-activations in the next layer.

    $c' = (\sigma_w^2 E[\phi(u) \phi(v)] + \sigma_b^2) / q'$ (Poole et al., 2016), where u and v
    have variance q and correlation c, and $q'$ is the next variance. Both inputs have the same q.

    Args:
        c: Correlation in this layer, in [-1, 1].
        activation: Name, function or record.
        sigma_w: $\sqrt{\text{fan\_in} \cdot Var[W]}$, at least 0.
        sigma_b: Standard deviation of the biases, at least 0.
        q: Pre-activation variance of this layer, above 0; `fixed_point(...).q` for the map of
            the literature. For ReLU without biases c' does not depend on it.

    Raises:
        ValueError: If a number is out of range, or the next layer's variance is 0.

    Example:
        ReLU without biases, orthogonal inputs (Cho and Saul, 2009):

        >>> round(correlation_map(0.0, "relu", 2**0.5) * np.pi, 12)
        1.0
    """
    known, q = get(activation), at_least("q", q, 0, strictly=True)
    sigma_w, sigma_b = at_least("sigma_w", sigma_w, 0), at_least("sigma_b", sigma_b, 0)
    following = q_map(q, known, sigma_w, sigma_b)
    if following == 0:
        raise ValueError("the next layer's variance is 0, so it has no correlation.")
    return (sigma_w**2 * kernel(known, q, q, c) + sigma_b**2) / following


def chi_c(
    c: float, activation: ActivationLike, sigma_w: float, sigma_b: float = 0.0, *, q: float = 1.0
) -> float:
    r"""Slope $dc'/dc$ of the correlation map.

    $\sigma_w^2 E[\phi'(u) \phi'(v)] q / q'$ (Poole et al., 2016). At a fixed point of the
    variance, $q' = q$, it is $\chi_1$ at c = 1.

    Args:
        c: Correlation in this layer, in [-1, 1].
        activation: Name, function or record.
        sigma_w: $\sqrt{\text{fan\_in} \cdot Var[W]}$, at least 0.
        sigma_b: Standard deviation of the biases, at least 0.
        q: Pre-activation variance of this layer, above 0.

    Raises:
        ValueError: If a number is out of range, or the next layer's variance is 0.

    Example:
        >>> round(chi_c(1.0, "relu", 2**0.5), 12), round(chi_c(0.0, "relu", 2**0.5), 12)
        (1.0, 0.5)
    """
    known, q = get(activation), at_least("q", q, 0, strictly=True)
    sigma_w, sigma_b = at_least("sigma_w", sigma_w, 0), at_least("sigma_b", sigma_b, 0)
    following = q_map(q, known, sigma_w, sigma_b)
    if following == 0:
        raise ValueError("the next layer's variance is 0, so it has no correlation.")
    if c == 1:
        return sigma_w**2 * mean_square_derivative(known, q) * q / following
    return sigma_w**2 * derivative_kernel(known, q, q, c) * q / following


def correlation_trajectory(
    c0: float,
    depth: int,
    activation: ActivationLike,
    sigma_w: float,
    sigma_b: float = 0.0,
    *,
    q0: float = 1.0,
) -> NDArray[np.float64]:
    r"""Correlations `[depth + 1]` of two inputs in the layers 0, ..., depth.

    The variance moves along, from `q0` by the variance map.

    Args:
        c0: Correlation at layer 0, in [-1, 1].
        depth: Number of layers passed, at least 0.
        activation: Name, function or record.
        sigma_w: $\sqrt{\text{fan\_in} \cdot Var[W]}$, at least 0.
        sigma_b: Standard deviation of the biases, at least 0.
        q0: Variance of both inputs at layer 0, above 0.

    Raises:
        ValueError: If a number is out of range, or the variance vanishes or overflows on the way.

    Example:
        >>> correlation_trajectory(0.0, 2, "relu", 2**0.5).round(4).tolist()
        [0.0, 0.3183, 0.4937]
    """
    known, depth = get(activation), count("depth", depth, 0)
    q, values = q0, [between("c0", c0, -1, 1)]
    for _ in range(depth):
        c = correlation_map(values[-1], known, sigma_w, sigma_b, q=q)
        values.append(min(1.0, max(-1.0, c)))
        q = q_map(q, known, sigma_w, sigma_b)
    return np.array(values)


def correlation_fixed_points(
    activation: ActivationLike, sigma_w: float, sigma_b: float, q: float
) -> tuple[CorrelationPoint, ...]:
    r"""All fixed points of the correlation map at a fixed point q of the variance map.

    c = 1 always is one. The others are the zeros of $(1 - c') / (1 - c) - 1$, which is free of
    that root and needs no difference of close numbers.

    Args:
        activation: Name, function or record.
        sigma_w: $\sqrt{\text{fan\_in} \cdot Var[W]}$, at least 0.
        sigma_b: Standard deviation of the biases, at least 0.
        q: A fixed point of the variance map, above 0.

    Returns:
        The points found in [-1, 1], ascending.

    Raises:
        ValueError: If a number is out of range, or `q` is no fixed point (to 1e-6 relative).

    Example:
        Chaotic tanh without biases: close inputs part until they are orthogonal.

        >>> q = 0.7933540426067777  # fixed_point("tanh", 1.5).q
        >>> [(round(p.c, 9), p.stable) for p in correlation_fixed_points("tanh", 1.5, 0.0, q)]
        [(-1.0, False), (0.0, True), (1.0, False)]
    """
    known, q = get(activation), at_least("q", q, 0, strictly=True)
    following = q_map(q, known, sigma_w, sigma_b)
    if abs(following / q - 1) > 1e-6:
        raise ValueError(f"`q` must be a fixed point: {q!r} goes to {following!r}.")
    chi = chi_c(1.0, known, sigma_w, sigma_b, q=q)

    def rest(c: float) -> float:
        """Above 0 where c' < c, apart from the root at 1."""
        if 1 - c < _AT_ONE:
            return chi - 1
        return _gap(known, sigma_w, q, c) / following / (1 - c) - 1

    points = [CorrelationPoint(1.0, chi, chi < 1 + _MARGIN)]
    grid = np.concatenate([np.arange(-10, 10) / 10, 1 - 10.0 ** np.arange(-2, -13, -1)])
    values = [rest(float(c)) for c in grid]
    for i, c in enumerate(grid):
        # The ends and the odd functions' c = 0 are roots that no sign change shows.
        if abs(values[i]) < 1e-12 and abs(chi - 1) > _MARGIN:
            points.append(_point(known, sigma_w, sigma_b, q, float(c)))
        elif i and abs(values[i - 1]) >= 1e-12 and values[i - 1] * values[i] < 0:
            root = root_between(rest, float(grid[i - 1]), float(c))
            points.append(_point(known, sigma_w, sigma_b, q, root))
    return tuple(sorted(points, key=lambda point: point.c))


def _gap(known: Activation, sigma_w: float, q: float, c: float) -> float:
    """Half the mean squared distance of the two inputs after the layer, q' (1 - c')."""
    f = known.function
    if known.closed.kernel is not None and 1 - c > 1e-3:
        k = known.closed.kernel
        return sigma_w**2 * (k(q, q, 1.0) - k(q, q, c))
    return sigma_w**2 / 2 * expect_pair(lambda u, v: np.square(f(u) - f(v)), q, q, c, known.kinks)


def _point(
    known: Activation, sigma_w: float, sigma_b: float, q: float, c: float
) -> CorrelationPoint:
    slope = chi_c(c, known, sigma_w, sigma_b, q=q)
    return CorrelationPoint(c, slope, abs(slope) < 1)


def stable_correlation(
    activation: ActivationLike, sigma_w: float, sigma_b: float, q: float
) -> CorrelationPoint:
    r"""Fixed point $c^*$ that the correlation of two different inputs goes to.

    1 in the ordered phase and at criticality; below 1 in the chaotic phase.

    Args:
        activation: Name, function or record.
        sigma_w: $\sqrt{\text{fan\_in} \cdot Var[W]}$, at least 0.
        sigma_b: Standard deviation of the biases, at least 0.
        q: A fixed point of the variance map, above 0.

    Raises:
        ValueError: If a number is out of range, or `q` is no fixed point.

    Example:
        >>> stable_correlation("relu", 1.0, 0.5, 0.5).c
        1.0
    """
    points = correlation_fixed_points(activation, sigma_w, sigma_b, q)
    if points[-1].stable:
        return points[-1]
    # On [0, 1] the map is convex and starts at or above 0: one stable point, or 1 is stable.
    stable = [point for point in points if point.stable]
    return stable[-1] if stable else points[-1]
