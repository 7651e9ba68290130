r"""Singular values of the Jacobian of a deep net: how evenly it passes directions on.

Mean-field gains are averages over directions. Pennington, Schoenholz and Ganguli (2017, 2018)
give the spread of the squared singular values s^2 for N-wide nets, N to infinity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from isograd.theory.activations import ActivationLike, get
from isograd.theory.gaussian import expect
from isograd.theory.moments import mean_square_derivative
from isograd.theory.ranges import at_least, count

__all__ = [
    "SpectrumMoments",
    "largest_singular_value",
    "marchenko_pastur_edges",
    "singular_value_moments",
    "slope_kurtosis",
]


@dataclass(frozen=True, slots=True)
class SpectrumMoments:
    """Mean and spread of the squared singular values of an L-layer Jacobian.

    Attributes:
        mean: Mean of s^2, chi_1^L.
        variance: Variance of s^2.
    """

    mean: float
    variance: float


def slope_kurtosis(activation: ActivationLike, q: float = 1.0) -> float:
    r"""How unevenly the units pass the gradient on: $\mu = E \phi'^4 / (E \phi'^2)^2$.

    Args:
        activation: Name, function or record.
        q: Variance of the pre-activation.

    Returns:
        At least 1; exactly 1 for a linear net, 2 for ReLU.

    Raises:
        ValueError: If `q` is negative or the activation is not known.

    Example:
        >>> round(slope_kurtosis("relu"), 12)
        2.0
    """
    known = get(activation)
    fourth = expect(lambda h: np.square(np.square(known.derivative(h))), q, known.kinks)
    return fourth / mean_square_derivative(known, q) ** 2


def singular_value_moments(
    layers: int,
    activation: ActivationLike = "linear",
    *,
    weights: Literal["gaussian", "orthogonal"] = "gaussian",
    chi: float = 1.0,
    q: float = 1.0,
) -> SpectrumMoments:
    r"""Mean and variance of the squared singular values of a wide L-layer Jacobian.

    Mean $\chi_1^L$; variance $\chi_1^{2L} L \mu$ for Gaussian and $\chi_1^{2L} L (\mu - 1)$ for
    orthogonal weights (Pennington et al., 2017, 2018), with $\mu$ from `slope_kurtosis`.

    Args:
        layers: L.
        activation: Name, function or record.
        weights: How they are drawn.
        chi: chi_1, the mean-field gain^2 per layer; 1 at criticality.
        q: Variance of the pre-activations, at its fixed point.

    Returns:
        The moments. Isometry needs a variance near 0: no depth of Gaussian layers has it, and
        no ReLU net, whose $\mu$ is 2.

    Raises:
        ValueError: If a number is out of range, or `weights` is another word.

    Example:
        >>> singular_value_moments(10).variance
        10.0
        >>> singular_value_moments(10, weights="orthogonal").variance
        0.0
    """
    if weights not in ("gaussian", "orthogonal"):
        raise ValueError(f"`weights` must be 'gaussian' or 'orthogonal', got {weights!r}.")
    depth = count("layers", layers, 0)
    mean = at_least("chi", chi, 0) ** depth
    free = slope_kurtosis(activation, q) - (weights == "orthogonal")
    return SpectrumMoments(mean, mean**2 * depth * free)


def largest_singular_value(layers: int) -> float:
    r"""Largest singular value of a product of L wide Gaussian matrices with variance 1/N.

    $\sqrt{(L + 1)^{L + 1} / L^L}$, about $\sqrt{e (L + 1/2)}$ (Pennington et al., 2017).

    Args:
        layers: L.

    Returns:
        s_max as N grows. For one matrix 2, the Marchenko-Pastur edge.

    Raises:
        ValueError: If `layers` is below 1.

    Example:
        >>> round(largest_singular_value(1), 12), round(largest_singular_value(10), 4)
        (2.0, 5.3415)
    """
    depth = count("layers", layers)
    return math.exp(((depth + 1) * math.log(depth + 1) - depth * math.log(depth)) / 2)


def marchenko_pastur_edges(
    fan_in: int, fan_out: int, *, sigma_w_squared: float = 1.0
) -> tuple[float, float]:
    r"""Smallest and largest singular value of a large Gaussian matrix.

    $\sigma_w |1 \pm \sqrt{fan_{out} / fan_{in}}|$ for entries of variance
    $\sigma_w^2 / fan_{in}$ (Marchenko and Pastur, 1967). A weight with a singular value far above
    the upper edge has learnt a direction.

    Args:
        fan_in: Columns.
        fan_out: Rows.
        sigma_w_squared: fan_in Var[W].

    Returns:
        Lower and upper edge of the min(fan_in, fan_out) singular values.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> marchenko_pastur_edges(400, 100)
        (0.5, 1.5)
    """
    shape = math.sqrt(count("fan_out", fan_out) / count("fan_in", fan_in))
    sigma = math.sqrt(at_least("sigma_w_squared", sigma_w_squared, 0))
    return sigma * abs(1 - shape), sigma * (1 + shape)
