r"""Gain of the gradient per layer at initialisation.

$\chi_1$ is gain^2: the factor on the mean squared gradient when it passes one wide layer
backward. The amplitude is its root, `gain_per_layer`.
"""

from __future__ import annotations

import math

import numpy as np

from isograd.theory.activations import ActivationLike, get
from isograd.theory.gaussian import expect
from isograd.theory.moments import mean_square_derivative
from isograd.theory.numeric import central_difference
from isograd.theory.ranges import at_least

__all__ = ["chi_1", "chi_2", "gain_per_layer", "gain_squared", "moment_ratio"]


def chi_1(activation: ActivationLike, sigma_w: float, q: float = 1.0) -> float:
    r"""Factor on the mean squared gradient per layer, going backward: gain^2.

    $\chi_1 = \sigma_w^2 E[\phi'(\sqrt{q} Z)^2]$ (Poole et al., 2016; Schoenholz et al., 2017).
    It is the mean squared singular value of the layer's Jacobian, and the slope of the correlation
    map at correlation 1. Assumes wide layers of equal width, and weights independent of the
    forward pass.

    Args:
        activation: Name, function or record.
        sigma_w: $\sqrt{\text{fan\_in} \cdot Var[W]}$, a standard deviation, at least 0.
        q: Pre-activation variance, at least 0; for the stationary gain that of `fixed_point`.

    Returns:
        Below 1 gradients vanish, above 1 they explode; after L layers the factor is
        `chi_1 ** L`.

    Raises:
        ValueError: If a number is negative or not finite.

    Example:
        PyTorch's default weights have variance 1 / (3 fan_in), so ReLU halves a third:

        >>> round(chi_1("relu", (1 / 3) ** 0.5) * 6, 12)
        1.0
    """
    return at_least("sigma_w", sigma_w, 0) ** 2 * mean_square_derivative(activation, q)


def gain_squared(activation: ActivationLike, sigma_w: float, q: float = 1.0) -> float:
    r"""The same as `chi_1`, under the name of what it is.

    Args:
        activation: Name, function or record.
        sigma_w: $\sqrt{\text{fan\_in} \cdot Var[W]}$, at least 0.
        q: Pre-activation variance, at least 0.

    Example:
        >>> gain_squared("linear", 0.5)
        0.25
    """
    return chi_1(activation, sigma_w, q)


def gain_per_layer(activation: ActivationLike, sigma_w: float, q: float = 1.0) -> float:
    r"""Gain of one layer, $\sqrt{\chi_1}$: amplitude, root mean square over wide layers.

    Args:
        activation: Name, function or record.
        sigma_w: $\sqrt{\text{fan\_in} \cdot Var[W]}$, at least 0.
        q: Pre-activation variance, at least 0.

    Example:
        Sigmoid, weights N(0, 1/fan_in), biases N(0, 1): about 5 times less per layer.

        >>> round(gain_per_layer("sigmoid", 1.0, 1.302134), 5)
        0.20484
    """
    return math.sqrt(chi_1(activation, sigma_w, q))


def chi_2(activation: ActivationLike, sigma_w: float, q: float = 1.0) -> float:
    r"""Curvature factor $\chi_2 = \sigma_w^2 E[\phi''(\sqrt{q} Z)^2]$ (Poole et al., 2016).

    Drives the growth of a curve's curvature with depth. The second derivative is taken by
    differences of order 8 of the first.

    Args:
        activation: Name, function or record.
        sigma_w: $\sqrt{\text{fan\_in} \cdot Var[W]}$, at least 0.
        q: Pre-activation variance, at least 0.

    Returns:
        Infinite if the derivative jumps, as ReLU's does.

    Raises:
        ValueError: If a number is negative or not finite.

    Example:
        >>> chi_2("relu", 1.0), round(chi_2("sin", 1.0, 0.5) * 2 / (1 - math.exp(-1.0)), 10)
        (inf, 1.0)
    """
    known = get(activation)
    sigma_w = at_least("sigma_w", sigma_w, 0)
    kinks = np.array(known.kinks)
    jumps = known.derivative(kinks + 1e-9) - known.derivative(kinks - 1e-9)
    if np.any(np.abs(jumps) > 1e-6):
        return math.inf if sigma_w else 0.0
    second = central_difference(known.derivative, known.kinks)
    return sigma_w**2 * expect(lambda h: np.square(second(h)), q, known.kinks)


def moment_ratio(activation: ActivationLike, q: float = 1.0) -> float:
    r"""Ratio $\mu = E[\phi'^4] / E[\phi'^2]^2$, at least 1.

    1 only if the squared slope is the same everywhere (linear). L layers with orthogonal weights
    at $\chi_1 = 1$ spread the squared singular values with variance $L (\mu - 1)$; with Gaussian
    weights it is $L \mu$ (Pennington et al., 2018).

    Args:
        activation: Name, function or record.
        q: Pre-activation variance, at least 0.

    Returns:
        NaN if the derivative is 0 almost everywhere.

    Raises:
        ValueError: If `q` is negative or not finite.

    Example:
        >>> moment_ratio("linear"), round(moment_ratio("relu"), 12)
        (1.0, 2.0)
    """
    known, q = get(activation), at_least("q", q, 0)
    if q == 0:
        q = 1e-300  # both sides of a kink at 0 count
    square = expect(lambda h: np.square(known.derivative(h)), q, known.kinks)
    if square == 0:
        return math.nan
    return expect(lambda h: np.square(np.square(known.derivative(h)) / square), q, known.kinks)
