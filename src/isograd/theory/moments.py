r"""Moments of an activation under $h \sim N(0, q)$, and the kernels of a pair.

Closed forms are used where they exist, else the quadrature of `gaussian`.
"""

from __future__ import annotations

import numpy as np

from isograd.theory.activation import Activation
from isograd.theory.activations import ActivationLike, get
from isograd.theory.gaussian import expect, expect_pair
from isograd.theory.ranges import at_least, between

__all__ = [
    "derivative_kernel",
    "kernel",
    "mean",
    "mean_square",
    "mean_square_derivative",
    "variance",
]


def mean(activation: ActivationLike, q: float = 1.0) -> float:
    r"""Mean $E[\phi(\sqrt{q} Z)]$.

    Args:
        activation: Name, function or record.
        q: Pre-activation variance, at least 0.

    Example:
        >>> import math
        >>> round(mean("relu") * math.sqrt(2 * math.pi), 12)
        1.0
    """
    known = get(activation)
    return expect(known.function, q, known.kinks)


def mean_square(activation: ActivationLike, q: float = 1.0) -> float:
    r"""Mean square $E[\phi(\sqrt{q} Z)^2]$.

    Args:
        activation: Name, function or record.
        q: Pre-activation variance, at least 0.

    Example:
        >>> import math
        >>> round(mean_square("erf"), 12) == round(2 / math.pi * math.asin(2 / 3), 12)
        True
    """
    known, q = get(activation), at_least("q", q, 0)
    if known.closed.square is not None:
        return known.closed.square(q)
    return expect(lambda h: np.square(known.function(h)), q, known.kinks)


def variance(activation: ActivationLike, q: float = 1.0) -> float:
    r"""Variance of $\phi(\sqrt{q} Z)$.

    Args:
        activation: Name, function or record.
        q: Pre-activation variance, at least 0.

    Example:
        ReLU has $(\pi - 1) / (2 \pi)$:

        >>> round(variance("relu"), 6)
        0.340845
    """
    known = get(activation)
    middle = mean(known, q)
    return expect(lambda h: np.square(known.function(h) - middle), q, known.kinks)


def mean_square_derivative(activation: ActivationLike, q: float = 1.0) -> float:
    r"""Mean square derivative $E[\phi'(\sqrt{q} Z)^2]$.

    At q = 0 the mean of the squares on both sides of 0: the limit of small q.

    Args:
        activation: Name, function or record.
        q: Pre-activation variance, at least 0.

    Example:
        >>> mean_square_derivative("relu")
        0.5
    """
    known, q = get(activation), at_least("q", q, 0)
    if known.closed.square_derivative is not None:
        return known.closed.square_derivative(q)
    if q == 0:
        return float(np.mean(np.square(slopes_at_zero(known))))
    return expect(lambda h: np.square(known.derivative(h)), q, known.kinks)


def slopes_at_zero(known: Activation) -> tuple[float, float]:
    """Derivative just below and just above 0.

    Extrapolated from two points on each side: differences cannot come closer to a kink.
    """
    near = np.asarray(known.derivative(np.array([-1e-9, 1e-9])), dtype=float)
    far = np.asarray(known.derivative(np.array([-2e-9, 2e-9])), dtype=float)
    below, above = 2 * near - far
    return float(below), float(above)


def kernel(activation: ActivationLike, q1: float = 1.0, q2: float = 1.0, c: float = 1.0) -> float:
    r"""Kernel $E[\phi(u) \phi(v)]$, with Var u = q1, Var v = q2, correlation c.

    Also called the dual activation (Daniely et al., 2016); for ReLU half the arc-cosine kernel of
    degree 1 (Cho and Saul, 2009).

    Args:
        activation: Name, function or record.
        q1: Variance of u, at least 0.
        q2: Variance of v, at least 0.
        c: Correlation, in [-1, 1].

    Example:
        >>> round(kernel("relu", c=0.0) * 2 * np.pi, 12)
        1.0
    """
    known, c = get(activation), between("c", c, -1, 1)
    q1, q2 = at_least("q1", q1, 0), at_least("q2", q2, 0)
    if known.closed.kernel is not None:
        return known.closed.kernel(q1, q2, c)
    f = known.function
    return expect_pair(lambda u, v: f(u) * f(v), q1, q2, c, known.kinks)


def derivative_kernel(
    activation: ActivationLike, q1: float = 1.0, q2: float = 1.0, c: float = 1.0
) -> float:
    r"""Derivative kernel $E[\phi'(u) \phi'(v)]$, with Var u = q1, Var v = q2, correlation c.

    Args:
        activation: Name, function or record.
        q1: Variance of u, at least 0.
        q2: Variance of v, at least 0.
        c: Correlation, in [-1, 1].

    Example:
        >>> derivative_kernel("relu", c=0.0)
        0.25
    """
    known, c = get(activation), between("c", c, -1, 1)
    q1, q2 = at_least("q1", q1, 0), at_least("q2", q2, 0)
    if known.closed.derivative_kernel is not None:
        return known.closed.derivative_kernel(q1, q2, c)
    f = known.derivative
    return expect_pair(lambda u, v: f(u) * f(v), q1, q2, c, known.kinks)
