r"""Softmax with random logits: how flat it is and how much gradient it passes.

For n independent logits N(0, s^2) all means below are exact one-dimensional integrals. With
$S = \sum_i e^{x_i}$ and $1/S^k = \int_0^\infty t^{k-1} e^{-t S} dt / \Gamma(k)$,

$$E \sum_i p_i^k = \frac{n}{\Gamma(k)} \int G_k(u) \, G_0(u)^{n-1} \, du, \quad
G_k(u) = E_{x \sim N(0, s^2)} \, e^{k (u + x)} \exp(-e^{u + x})$$

where t = e^u. Every G is a bounded smooth function convolved with a Gaussian, so the trapezoid
rule on one grid gives about 10 digits at any s. The derivation is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from isograd.theory.ranges import at_least, count

__all__ = ["SoftmaxMoments", "softmax_moments", "softmax_uniform_jacobian_norm_squared"]

_REACH = 9.0  # standard deviations; the density there is 1e-18 of its top


@dataclass(frozen=True, slots=True)
class SoftmaxMoments:
    r"""Means over random logits.

    Attributes:
        tokens: n, probabilities per row.
        entropy: Mean entropy in nats, at most ln n.
        jacobian_norm_squared: Mean of $||J||_F^2$, $J = diag(p) - p p^T$.
        collision: Mean of $\sum p_i^2$; 1/n when uniform, 1 when one-hot.
    """

    tokens: int
    entropy: float
    jacobian_norm_squared: float
    collision: float

    @property
    def entropy_fraction(self) -> float:
        """Entropy over its largest value, in [0, 1]. The better alarm: it falls steadily."""
        return self.entropy / math.log(self.tokens)

    @property
    def gain_squared(self) -> float:
        """gain^2 for a white gradient, ||J||_F^2 / n. Not monotone in the logits' scale."""
        return self.jacobian_norm_squared / self.tokens


def softmax_uniform_jacobian_norm_squared(tokens: int) -> float:
    r"""$||J||_F^2 = (n - 1) / n^2$ of a softmax with equal logits.

    Args:
        tokens: n.

    Returns:
        The squared Frobenius norm; divide by n for gain^2 of a white gradient.

    Raises:
        ValueError: If `tokens` is below 1.

    Example:
        >>> softmax_uniform_jacobian_norm_squared(4)
        0.1875
    """
    n = count("tokens", tokens)
    return (n - 1) / n**2


def softmax_moments(tokens: int, logit_sd: float) -> SoftmaxMoments:
    """Mean entropy and Jacobian norm of a softmax over independent Gaussian logits.

    Args:
        tokens: n, at least 2.
        logit_sd: Standard deviation s of the logits, at least 0.

    Returns:
        The means, with a relative error below 1e-6 for s up to 100.

    Raises:
        ValueError: If a number is out of range.

    Example:
        With logits of sd 10 only a tenth of the entropy is left:

        >>> round(softmax_moments(64, 10.0).entropy_fraction, 2)
        0.11
        >>> flat = softmax_moments(64, 0.0)
        >>> flat.jacobian_norm_squared == softmax_uniform_jacobian_norm_squared(64)
        True
    """
    n, s = count("tokens", tokens, 2), at_least("logit_sd", logit_sd, 0)
    if s == 0:
        uniform = softmax_uniform_jacobian_norm_squared(n)
        return SoftmaxMoments(n, math.log(n), uniform, 1 / n)
    step, u, g = _smoothed(n, s)
    rest = g[0] ** (n - 1)
    pairs = g[0] ** (n - 2)
    second = n * step * float(g[2] @ rest)
    third = n / 2 * step * float(g[3] @ rest)
    fourth = n / 6 * step * float(g[4] @ rest)
    crossed = n * (n - 1) / 6 * step * float((g[2] * g[2]) @ pairs)  # E sum_{i != j} p_i^2 p_j^2
    log_sum = step * float((np.exp(-np.exp(np.minimum(u, 7.0))) - g[0] ** n).sum())
    # Entropy is ln S - sum p_i x_i, and E[x_i p_i] = s^2 E[p_i (1 - p_i)] by Stein's lemma.
    entropy = log_sum - s * s * (1 - second)
    return SoftmaxMoments(n, entropy, second - 2 * third + fourth + crossed, second)


def _smoothed(n: int, s: float) -> tuple[float, NDArray[np.float64], dict[int, NDArray]]:
    """Step, grid u `[m]` and G_0, G_2, G_3, G_4 on it."""
    step = min(0.05, s / 6)
    half = math.ceil(_REACH * s / step)
    density = np.exp(-0.5 * (step * np.arange(-half, half + 1) / s) ** 2)
    density /= density.sum()
    # Left of it every G_k is negligible and 1 - G_0^n too; right of it exp(-e^u) is 0.
    low, high = -(_REACH * s + math.log(n) + 40), _REACH * s + 6
    u = np.arange(math.floor(low / step), math.ceil(high / step) + 1).astype(np.float64) * step
    v = np.arange(math.floor(low / step) - half, math.ceil(high / step) + half + 1) * step
    tail = np.exp(-np.exp(np.minimum(v, 7.0)))
    power = np.exp(np.minimum(v, 7.0))
    # The FFT leaves values of about -1e-17 where the truth is 0.
    return (
        step,
        u,
        {
            k: np.clip(fftconvolve(power**k * tail, density, mode="valid"), 0, None)
            for k in (0, 2, 3, 4)
        },
    )
