r"""Finite width: the error bar of every mean-field prediction.

One draw of the weights gives one gradient. Over draws, ln gain^2 scatters with a variance that
adds up over the layers like depth over width (Hanin, 2018; Hanin and Nica, 2018), and its median
lies below the mean of gain^2: after L = n layers a ReLU net's typical gain^2 is e^-2.5 of its
mean. The exact laws for ReLU and linear layers are our derivation: per layer of width n

    X = (2 / n) chi2_k,  k ~ Binomial(n, 1/2)      ReLU with He weights, k live units
    X = (1 / n) chi2_n                             linear, Var W = 1/n

multiply gain^2 independently, since Gaussian weights are isotropic.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, polygamma, psi
from scipy.stats import binom

from isograd.theory.activations import ActivationLike, get
from isograd.theory.ranges import at_least, between, count
from isograd.theory.spectrum import slope_kurtosis

__all__ = [
    "LogGainInterval",
    "LogMoments",
    "linear_log_gain_moments",
    "log_gain_interval",
    "relu_log_gain_moments",
    "relu_second_moment_ratio",
]

# gain^2 -> decades of gain.
_DECADE = 2 * math.log(10)


@dataclass(frozen=True, slots=True)
class LogMoments:
    """Mean and variance of ln gain^2, relative to the wide-net prediction.

    Attributes:
        mean: At most 0, since the mean of gain^2 itself is the prediction.
        variance: Over draws of the weights.
    """

    mean: float
    variance: float


@dataclass(frozen=True, slots=True)
class LogGainInterval:
    """Where ln gain^2 of one draw of the weights lies around the wide-net prediction.

    Attributes:
        mean: Expected ln(gain^2 / prediction).
        standard_deviation: Of ln gain^2 over draws.
        low: Lower end, natural log of gain^2 / prediction.
        high: Upper end.
        level: Probability that a draw lies inside.
        exact_moments: Whether mean and variance are exact (ReLU, linear) or of first order in
            1/width. The ends always assume a normal distribution of the logarithm.
    """

    mean: float
    standard_deviation: float
    low: float
    high: float
    level: float
    exact_moments: bool

    @property
    def decades(self) -> tuple[float, float]:
        """Both ends as decades of the gain (amplitude), log10(gain / prediction)."""
        return self.low / _DECADE, self.high / _DECADE


def relu_second_moment_ratio(widths: Iterable[int]) -> float:
    r"""$E X^2 / (E X)^2$ of gain^2 for a He-initialised ReLU net, $\prod (1 + 5 / n_l)$.

    Args:
        widths: Width of each layer the gradient crosses.

    Returns:
        At least 1. Far above 1, sample means of gain^2 over seeds are worthless: use logs.

    Raises:
        ValueError: If a width is below 1.

    Example:
        >>> relu_second_moment_ratio([5, 5])
        4.0
    """
    return math.prod(1 + 5 / count("width", n) for n in widths)


def relu_log_gain_moments(width: int) -> LogMoments:
    r"""Exact mean and variance of ln gain^2 of one He-initialised ReLU layer.

    $X = (2/n) \chi^2_k$, $k \sim Bin(n, 1/2)$, given at least one live unit (all are dead with
    probability $2^{-n}$). For large n they tend to -5/(2n) and 5/n.

    Args:
        width: n.

    Returns:
        Moments of ln X.

    Raises:
        ValueError: If `width` is below 1.

    Example:
        Fifty layers of 50:

        >>> layer = relu_log_gain_moments(50)
        >>> round(50 * layer.mean, 3), round(50 * layer.variance, 3)
        (-2.587, 5.408)
    """
    n = count("width", width)
    k = np.arange(1, n + 1)
    weight = binom.pmf(k, n, 0.5)
    weight = weight / weight.sum()
    middle = psi(k / 2) + math.log(4 / n)
    mean = float(weight @ middle)
    variance = float(weight @ (polygamma(1, k / 2) + (middle - mean) ** 2))
    return LogMoments(mean, variance)


def linear_log_gain_moments(width: int) -> LogMoments:
    r"""Exact mean and variance of ln gain^2 of one linear layer with Var W = 1/n.

    $E = \psi(n/2) - \ln(n/2)$, $Var = \psi_1(n/2)$: those of a chi-square over n.

    Args:
        width: n.

    Returns:
        Moments of ln gain^2.

    Raises:
        ValueError: If `width` is below 1.

    Example:
        Fifty layers of 50:

        >>> layer = linear_log_gain_moments(50)
        >>> round(50 * layer.mean, 4), round(50 * layer.variance, 4)
        (-1.0067, 2.0405)
    """
    half = count("width", width) / 2
    return LogMoments(float(psi(half)) - math.log(half), float(polygamma(1, half)))


def log_gain_interval(
    widths: Iterable[int],
    activation: ActivationLike = "relu",
    *,
    level: float = 0.9,
    q: float = 1.0,
) -> LogGainInterval:
    r"""Error bar of a wide-net prediction of gain^2, from the widths alone.

    Exact moments per layer for ReLU and linear nets. For other activations
    $Var[\ln X] \approx \ln(1 + (3 \mu - 1)/n)$ and half of it below the prediction, with
    $\mu = E \phi'^4 / (E \phi'^2)^2$: the backward scatter at fixed pre-activation variance. The
    scatter of that variance itself, which moves the slopes of saturating units, is not in it.

    Args:
        widths: Width of each layer the gradient crosses; for convolutions the channels times the
            pixels that share no weights count as an upper bound only.
        activation: Name, function or record.
        level: Probability that a draw of the weights lies inside, between 0 and 1.
        q: Variance of the pre-activations, for activations that are not homogeneous.

    Returns:
        The interval around the prediction, in natural logs of gain^2 and in decades of gain. A
        measured total inside it is no finding.

    Raises:
        ValueError: If a number is out of range.

    Example:
        Ten layers of 50 scatter by almost a decade between the ends:

        >>> bar = log_gain_interval([50] * 10)
        >>> round(bar.standard_deviation, 3), [round(x, 2) for x in bar.decades]
        (1.04, [-0.48, 0.26])
    """
    share = between("level", level, 0, 1, below_high=True)
    known, sizes = get(activation), [count("width", n) for n in widths]
    at_least("q", q, 0)
    exact = {"relu": relu_log_gain_moments, "linear": linear_log_gain_moments}.get(known.name)
    if exact is None:
        spread = 3 * slope_kurtosis(known, q) - 1
        layers = [LogMoments(-math.log1p(spread / n) / 2, math.log1p(spread / n)) for n in sizes]
    else:
        layers = [exact(n) for n in sizes]
    mean = math.fsum(layer.mean for layer in layers)
    deviation = math.sqrt(math.fsum(layer.variance for layer in layers))
    reach = float(ndtri((1 + share) / 2)) * deviation
    return LogGainInterval(mean, deviation, mean - reach, mean + reach, share, exact is not None)
