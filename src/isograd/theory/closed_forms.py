r"""Second moments of activations under a Gaussian, where they are known in closed form.

For a pair $(u, v)$ with variances $q_1, q_2$ and correlation $c$:

    kernel              $E[\phi(u) \phi(v)]$
    derivative kernel   $E[\phi'(u) \phi'(v)]$

Sources: arc-cosine kernels of degree 0 and 1, Cho and Saul (2009); arc-sine kernel, Williams
(1997); GELU at c = 1, Kedia et al. (2024); sine and exponential from the characteristic function.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["NO_CLOSED_FORMS", "ClosedForms"]

Moment = Callable[[float], float]
Kernel = Callable[[float, float, float], float]


@dataclass(frozen=True, slots=True)
class ClosedForms:
    r"""What is known of one activation; None where only quadrature is left.

    Attributes:
        square: $E[\phi(\sqrt{q} Z)^2]$ as a function of q.
        square_derivative: $E[\phi'(\sqrt{q} Z)^2]$ as a function of q.
        square_slope: Derivative of `square` by q.
        kernel: $E[\phi(u) \phi(v)]$ as a function of q1, q2, c.
        derivative_kernel: $E[\phi'(u) \phi'(v)]$ as a function of q1, q2, c.
    """

    square: Moment | None = None
    square_derivative: Moment | None = None
    square_slope: Moment | None = None
    kernel: Kernel | None = None
    derivative_kernel: Kernel | None = None


NO_CLOSED_FORMS = ClosedForms()


def linear() -> ClosedForms:
    return ClosedForms(
        square=lambda q: q,
        square_derivative=lambda q: 1.0,
        square_slope=lambda q: 1.0,
        kernel=lambda q1, q2, c: math.sqrt(q1) * math.sqrt(q2) * c,
        derivative_kernel=lambda q1, q2, c: 1.0,
    )


def leaky_relu(slope: float) -> ClosedForms:
    """`slope` 0 is ReLU. relu(u) relu(-v) has the kernel of ReLU at correlation -c."""
    share = (1 + slope**2) / 2

    def kernel(q1: float, q2: float, c: float) -> float:
        both = (1 + slope**2) * _arc_cosine_1(c) - 2 * slope * _arc_cosine_1(-c)
        return math.sqrt(q1) * math.sqrt(q2) * both

    def derivative_kernel(q1: float, q2: float, c: float) -> float:
        return (1 + slope**2) * _arc_cosine_0(c) + 2 * slope * _arc_cosine_0(-c)

    return ClosedForms(
        square=lambda q: share * q,
        square_derivative=lambda q: share,
        square_slope=lambda q: share,
        kernel=kernel,
        derivative_kernel=derivative_kernel,
    )


def _angle(c: float) -> float:
    # arccos loses half the digits near 1; the sine does not.
    return math.atan2(math.sqrt((1 - c) * (1 + c)), c)


def _arc_cosine_0(c: float) -> float:
    return (math.pi - _angle(c)) / (2 * math.pi)


def _arc_cosine_1(c: float) -> float:
    return (math.sqrt((1 - c) * (1 + c)) + (math.pi - _angle(c)) * c) / (2 * math.pi)


def erf() -> ClosedForms:
    def kernel(q1: float, q2: float, c: float) -> float:
        covariance = 2 * c * math.sqrt(q1) * math.sqrt(q2)
        # arcsin(a / b) as an angle, accurate where a is close to b.
        rest = (1 + 2 * q1) + 2 * q2 + 4 * q1 * q2 * (1 - c) * (1 + c)
        return 2 / math.pi * math.atan2(covariance, math.sqrt(rest))

    def derivative_kernel(q1: float, q2: float, c: float) -> float:
        rest = (1 + 2 * q1) + 2 * q2 + 4 * q1 * q2 * (1 - c) * (1 + c)
        return 4 / math.pi / math.sqrt(rest)

    return ClosedForms(
        square=lambda q: kernel(q, q, 1.0),
        square_derivative=lambda q: derivative_kernel(q, q, 1.0),
        kernel=kernel,
        derivative_kernel=derivative_kernel,
    )


def gelu() -> ClosedForms:
    def angle(q: float) -> float:  # arccos(q / (1 + q)), accurate at large q
        return math.atan2(math.sqrt(1 + 2 * q), q)

    def square(q: float) -> float:
        a = q / (1 + q)
        return q / (2 * math.pi) * (math.pi - angle(q) + 2 * a / math.sqrt(1 + 2 * q))

    def square_derivative(q: float) -> float:
        a = q / (1 + q)
        return 0.5 + (a * (5 * q + 3) / (1 + 2 * q) ** 1.5 - angle(q)) / (2 * math.pi)

    return ClosedForms(square=square, square_derivative=square_derivative)


def sine() -> ClosedForms:
    def kernel(q1: float, q2: float, c: float) -> float:
        middle, cross = 0.5 * (q1 + q2), c * math.sqrt(q1) * math.sqrt(q2)
        if abs(cross) < 1:  # else a difference of close numbers
            return math.exp(-middle) * math.sinh(cross)
        return 0.5 * (math.exp(min(0.0, cross - middle)) - math.exp(min(0.0, -cross - middle)))

    def derivative_kernel(q1: float, q2: float, c: float) -> float:
        middle, cross = 0.5 * (q1 + q2), c * math.sqrt(q1) * math.sqrt(q2)
        return 0.5 * (math.exp(min(0.0, cross - middle)) + math.exp(min(0.0, -cross - middle)))

    return ClosedForms(
        square=lambda q: -0.5 * math.expm1(-2 * q),
        square_derivative=lambda q: 0.5 * (1 + math.exp(-2 * q)),
        square_slope=lambda q: math.exp(-2 * q),
        kernel=kernel,
        derivative_kernel=derivative_kernel,
    )


def exponential() -> ClosedForms:
    def kernel(q1: float, q2: float, c: float) -> float:
        power = 0.5 * (q1 + q2) + c * math.sqrt(q1) * math.sqrt(q2)
        return math.exp(power) if power < 709 else math.inf

    def square(q: float) -> float:
        return kernel(q, q, 1.0)

    return ClosedForms(square, square, lambda q: 2 * square(q), kernel, kernel)


def squared_relu() -> ClosedForms:
    return ClosedForms(
        square=lambda q: 1.5 * q * q,
        square_derivative=lambda q: 2 * q,
        square_slope=lambda q: 3 * q,
    )
