"""Activation functions and their derivatives, elementwise in float64.

Each entry makes a pair `(function, derivative)`. The forms are chosen so that no argument
overflows and no small value is a difference of large ones. At a kink the derivative is torch's.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = ["SELU_ALPHA", "SELU_SCALE"]

Array = NDArray[np.float64]
Function = Callable[[Array], Array]
Pair = tuple[Function, Function]

# Klambauer et al. (2017); `selu_constants` derives them.
SELU_SCALE = 1.0507009873554804934193349852946
SELU_ALPHA = 1.6732632423543772848170429916717


def sech_squared(z: Array) -> Array:
    small = np.exp(-2 * np.abs(z))
    return 4 * small / (1 + small) ** 2


def linear() -> Pair:
    return (lambda z: z * 1.0), np.ones_like


def leaky_relu(slope: float) -> Pair:
    return (lambda z: np.where(z > 0, z, slope * z)), (lambda z: np.where(z > 0, 1.0, slope))


def squared_relu() -> Pair:
    return (lambda z: np.maximum(z, 0) ** 2), (lambda z: 2 * np.maximum(z, 0))


def elu(alpha: float, scale: float = 1.0) -> Pair:
    def function(z: Array) -> Array:
        return scale * np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))

    def derivative(z: Array) -> Array:
        return scale * np.where(z > 0, 1.0, alpha * np.exp(np.minimum(z, 0)))

    return function, derivative


def celu(alpha: float) -> Pair:
    def function(z: Array) -> Array:
        return np.maximum(z, 0) + alpha * np.expm1(np.minimum(z, 0) / alpha)

    return function, (lambda z: np.exp(np.minimum(z, 0) / alpha))


def gelu() -> Pair:
    def derivative(z: Array) -> Array:
        return special.ndtr(z) + z * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)

    return (lambda z: z * special.ndtr(z)), derivative


def gelu_tanh() -> Pair:
    # (1 + tanh u) / 2 = sigmoid(2 u).
    rate, cubic = 2 * math.sqrt(2 / math.pi), 0.044715

    def derivative(z: Array) -> Array:
        u = rate * (z + cubic * z**3)
        inner = rate * (1 + 3 * cubic * z**2)
        return special.expit(u) * (1 + z * inner * special.expit(-u))

    return (lambda z: z * special.expit(rate * (z + cubic * z**3))), derivative


def swish(beta: float) -> Pair:
    def derivative(z: Array) -> Array:
        return special.expit(beta * z) * (1 + beta * z * special.expit(-beta * z))

    return (lambda z: z * special.expit(beta * z)), derivative


def mish() -> Pair:
    def derivative(z: Array) -> Array:
        soft = np.logaddexp(0, z)
        return np.tanh(soft) + z * sech_squared(soft) * special.expit(z)

    return (lambda z: z * np.tanh(np.logaddexp(0, z))), derivative


def tanh() -> Pair:
    return np.tanh, sech_squared


def tanhshrink() -> Pair:
    return (lambda z: z - np.tanh(z)), (lambda z: np.tanh(z) ** 2)


def erf() -> Pair:
    return special.erf, (lambda z: 2 / math.sqrt(math.pi) * np.exp(-z * z))


def sigmoid() -> Pair:
    return special.expit, (lambda z: special.expit(z) * special.expit(-z))


def softplus(beta: float) -> Pair:
    return (lambda z: np.logaddexp(0, beta * z) / beta), (lambda z: special.expit(beta * z))


def logsigmoid() -> Pair:
    return (lambda z: -np.logaddexp(0, -z)), (lambda z: special.expit(-z))


def softsign() -> Pair:
    return (lambda z: z / (1 + np.abs(z))), (lambda z: (1 + np.abs(z)) ** -2.0)


def softshrink(lambd: float) -> Pair:
    def function(z: Array) -> Array:
        return np.sign(z) * np.maximum(np.abs(z) - lambd, 0)

    return function, (lambda z: (np.abs(z) > lambd).astype(float))


def clipped(low: float, high: float, rate: float = 1.0, shift: float = 0.0) -> Pair:
    """`clip(rate z + shift, low, high)`: hardtanh, hardsigmoid, relu6."""

    def derivative(z: Array) -> Array:
        value = rate * z + shift
        return np.where((value > low) & (value < high), rate, 0.0)

    return (lambda z: np.clip(rate * z + shift, low, high)), derivative


def hardswish() -> Pair:
    def derivative(z: Array) -> Array:
        return np.where(z <= -3, 0.0, np.where(z >= 3, 1.0, (2 * z + 3) / 6))

    return (lambda z: z * np.clip(z + 3, 0, 6) / 6), derivative


def sine() -> Pair:
    return np.sin, np.cos


def exponential() -> Pair:
    return np.exp, np.exp
