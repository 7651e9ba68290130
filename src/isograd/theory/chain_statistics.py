r"""Random chains of single sigmoid neurons: what a factor |w s'(z)| usually is.

Weights N(0, sw^2), biases N(0, sb^2). Deep in the chain the weighted input z has a stationary
density p, the fixed point of

$$p(z') = \int p(z) \, N(z'; \, 0, \, s_w^2 s(z)^2 + s_b^2) \, dz$$

which the trapezoid rule solves to machine precision, since all is smooth and decays like a
Gaussian. A factor of the product can be read in two ways:

    hop          |w_{j+1} s'(z_j)|: from neuron j + 1 to neuron j; weight and slope independent
    same neuron  |w_j s'(z_j)|, as the textbook pairs them: a large weight also moves z_j to
                 where the slope is small

Their logarithms have the same mean, as the product does not care. Given a neuron's input and its
z the weight is Gaussian, so every statistic of one factor is a smooth sum, no samples drawn. Mean
of the logarithm, mean and root mean square differ widely: a chain of neurons follows the first, a
wide layer the last.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.special import expit, log_expit, ndtr

from isograd.theory.ranges import at_least
from isograd.theory.roots import root_between

__all__ = [
    "FactorStatistics",
    "factor_probability_below",
    "factor_statistics",
    "normal_log_moments",
]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FactorStatistics:
    """One factor, a weight's size times a slope, deep in a random chain.

    Attributes:
        mean_log: E ln, natural logarithm. Adds up exactly along the chain.
        sd_log: Standard deviation of ln.
        mean: Arithmetic mean.
        rms: Root mean square.
        median: Half of all factors are below.
    """

    mean_log: float
    sd_log: float
    mean: float
    rms: float
    median: float

    @property
    def typical(self) -> float:
        """Geometric mean: the factor per neuron of a long chain."""
        return math.exp(self.mean_log)


def normal_log_moments() -> tuple[float, float]:
    r"""Mean and variance of ln|w|, w ~ N(0, 1): $-(\gamma + \ln 2)/2$ and $\pi^2/8$.

    Returns:
        Mean and variance.

    Example:
        >>> [round(x, 6) for x in normal_log_moments()]
        [-0.635181, 1.233701]
    """
    return -(np.euler_gamma + math.log(2)) / 2, math.pi**2 / 8


@functools.lru_cache(maxsize=16)
def factor_statistics(
    weight_sd: float = 1.0, bias_sd: float = 1.0, *, same_neuron: bool = False
) -> FactorStatistics:
    """Statistics of one factor deep in a random chain of sigmoid neurons.

    Args:
        weight_sd: Standard deviation of the weights, above 0.
        bias_sd: Standard deviation of the biases, above 0.
        same_neuron: Pair a slope with the weight before it, |w_j s'(z_j)|, instead of the hop
            |w_{j+1} s'(z_j)|.

    Returns:
        The statistics, to about 8 digits.

    Raises:
        ValueError: If a number is not above 0.

    Example:
        A chain loses a factor of ten per neuron, a wide layer only of five:

        >>> hop = factor_statistics()
        >>> round(hop.mean_log, 4), round(hop.typical, 4), round(hop.rms, 4)
        (-2.3076, 0.0995, 0.2052)
        >>> round(hop.sd_log, 3), round(hop.mean, 4), round(hop.median, 4)
        (1.171, 0.1581, 0.1256)
    """
    grid = _stationary(weight_sd, bias_sd)
    slope = expit(grid.z) * expit(-grid.z)
    log_slope = log_expit(grid.z) + log_expit(-grid.z)
    log_weight, log_weight_variance = normal_log_moments()
    log_weight += math.log(weight_sd)
    mean_slope = float(grid.density @ log_slope)
    mean_log = log_weight + mean_slope
    variance = log_weight_variance + float(grid.density @ (log_slope - mean_slope) ** 2)
    if same_neuron:
        variance += 2 * (_crossed_log(grid, weight_sd, bias_sd) - log_weight * mean_slope)
    middle, spread = grid.weight_given_z() if same_neuron else grid.weight_alone()
    # Folded normal: E|w| given its mean and standard deviation.
    folded = spread * math.sqrt(2 / math.pi) * np.exp(-0.5 * (middle / spread) ** 2)
    folded = folded + middle * (1 - 2 * ndtr(-middle / spread))
    mean = float((grid.joint * folded * slope).sum())
    rms = math.sqrt(float((grid.joint * (middle**2 + spread**2) * slope**2).sum()))

    def excess(log_threshold: float) -> float:
        threshold = math.exp(log_threshold)
        below = factor_probability_below(threshold, weight_sd, bias_sd, same_neuron=same_neuron)
        return below - 0.5

    median = math.exp(root_between(excess, mean_log - 5, mean_log + 5))
    return FactorStatistics(mean_log, math.sqrt(variance), mean, rms, median)


def factor_probability_below(
    threshold: float, weight_sd: float = 1.0, bias_sd: float = 1.0, *, same_neuron: bool = False
) -> float:
    """Probability that one factor lies below a threshold, deep in a random sigmoid chain.

    Args:
        threshold: At least 0.
        weight_sd: Standard deviation of the weights, above 0.
        bias_sd: Standard deviation of the biases, above 0.
        same_neuron: See `factor_statistics`.

    Returns:
        A probability, to about 8 digits.

    Raises:
        ValueError: If a number is out of range.

    Example:
        With N(0, 1) weights one factor in five exceeds 1/4, however it is paired:

        >>> round(factor_probability_below(0.25), 3)
        0.789
        >>> round(factor_probability_below(0.25, same_neuron=True), 3)
        0.812
    """
    limit = at_least("threshold", threshold, 0)
    grid = _stationary(weight_sd, bias_sd)
    middle, spread = grid.weight_given_z() if same_neuron else grid.weight_alone()
    edge = limit / (expit(grid.z) * expit(-grid.z))
    inside = ndtr((edge - middle) / spread) - ndtr((-edge - middle) / spread)
    return float((grid.joint * inside).sum())


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """Stationary chain: z `[m]`, a `[m, 1]` of the neuron before, weights of the sums."""

    z: Array
    a: Array
    density: Array  # [m], sums to 1
    joint: Array  # [m before, m], sums to 1
    weight_sd: float
    bias_sd: float

    def weight_alone(self) -> tuple[Array, Array]:
        """Mean and standard deviation `[1, 1]` of a weight that is independent of a and z."""
        return np.zeros((1, 1)), np.full((1, 1), self.weight_sd)

    def weight_given_z(self) -> tuple[Array, Array]:
        """Mean `[m, m]` and standard deviation `[m, 1]` of w given a and z."""
        variance = (self.weight_sd * self.a) ** 2 + self.bias_sd**2
        middle = self.weight_sd**2 * self.a * self.z / variance
        return middle, self.weight_sd * self.bias_sd / np.sqrt(variance)


@functools.lru_cache(maxsize=16)
def _stationary(weight_sd: float, bias_sd: float) -> _Grid:
    at_least("weight_sd", weight_sd, 0, strictly=True)
    at_least("bias_sd", bias_sd, 0, strictly=True)
    reach = 9 * math.hypot(weight_sd, bias_sd)
    step = min(0.1, bias_sd / 5)
    half = math.ceil(reach / step)
    if half > 1500:
        raise ValueError(
            f"`weight_sd` {weight_sd:g} and `bias_sd` {bias_sd:g} are too far apart for the grid: "
            "their ratio must be below about 30, and `weight_sd` below about 15."
        )
    z = (step * np.arange(-half, half + 1)).astype(np.float64)
    a = expit(z)[:, None]
    kernel = np.exp(-0.5 * z**2 / ((weight_sd * a) ** 2 + bias_sd**2))
    kernel /= kernel.sum(axis=1, keepdims=True)
    density = np.full(len(z), 1 / len(z))
    for _ in range(100):
        fresh = density @ kernel
        done = np.abs(fresh - density).sum() < 1e-15
        density = fresh
        if done:
            break
    return _Grid(z, a, density, density[:, None] * kernel, weight_sd, bias_sd)


def _crossed_log(grid: _Grid, weight_sd: float, bias_sd: float) -> float:
    """E[ln|w| ln s'(z)], with w = weight_sd e^t so that the logarithm's pole at 0 is spread out."""
    noise = np.arange(-8, 8.05, 0.1)
    weight = np.exp(-0.5 * noise**2)
    weight /= weight.sum()
    u = np.linspace(0, 10 * weight_sd, 800)
    shifted = u[:, None] + bias_sd * noise
    smooth = CubicSpline(u, (log_expit(shifted) + log_expit(-shifted)) @ weight)
    t = np.arange(-40, math.log(9.9), 0.02)
    w = np.exp(t)
    chance = 2 * 0.02 * w * np.exp(-0.5 * w**2) / math.sqrt(2 * math.pi)
    inner = smooth(grid.a * (weight_sd * w)) @ (chance * (t + math.log(weight_sd)))
    return float(grid.density @ inner)
