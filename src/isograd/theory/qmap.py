r"""The variance map: how the pre-activation variance changes from layer to layer.

For a wide layer $h = W \phi(h_{prev}) + b$ with independent weights of variance
$\sigma_w^2 / \text{fan\_in}$ and biases of variance $\sigma_b^2$ (Poole et al., 2016):

    q' = sigma_w^2 E[phi(sqrt(q) Z)^2] + sigma_b^2

`sigma_w` and `sigma_b` are standard deviations, `q` is a variance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isograd.theory.activations import ActivationLike, get
from isograd.theory.gaussian import expect
from isograd.theory.moments import mean_square, slopes_at_zero
from isograd.theory.ranges import at_least, count

__all__ = ["q_map", "q_slope", "q_trajectory"]


def q_map(q: float, activation: ActivationLike, sigma_w: float, sigma_b: float = 0.0) -> float:
    r"""Pre-activation variance of the next layer.

    $q' = \sigma_w^2 E[\phi(\sqrt{q} Z)^2] + \sigma_b^2$ (Poole et al., 2016).

    Args:
        q: Pre-activation variance of this layer, at least 0.
        activation: Name, function or record.
        sigma_w: $\sqrt{\text{fan\_in} \cdot Var[W]}$, at least 0.
        sigma_b: Standard deviation of the biases, at least 0.

    Raises:
        ValueError: If a number is negative or not finite.

    Example:
        >>> round(q_map(3.0, "relu", 2**0.5), 12)
        3.0
    """
    sigma_w, sigma_b = at_least("sigma_w", sigma_w, 0), at_least("sigma_b", sigma_b, 0)
    if sigma_w == 0:
        return sigma_b**2
    return sigma_w**2 * mean_square(activation, q) + sigma_b**2


def q_slope(q: float, activation: ActivationLike, sigma_w: float) -> float:
    r"""Derivative $dq'/dq$ of the variance map.

    $\sigma_w^2 E[\phi(h) \phi'(h) h] / q$ with $h = \sqrt{q} Z$. For a smooth activation this is
    $\sigma_w^2 E[\phi'^2 + \phi \phi'']$, the form of Schoenholz et al. (2017); this one needs
    no second derivative. At q = 0: its limit, infinite for an activation with a kink at 0 that
    is not 0 there.

    Args:
        q: Where, at least 0.
        activation: Name, function or record.
        sigma_w: $\sqrt{\text{fan\_in} \cdot Var[W]}$, at least 0.

    Raises:
        ValueError: If a number is negative or not finite.

    Example:
        >>> round(q_slope(0.7, "relu", 2**0.5), 12), round(q_slope(0.0, "tanh", 0.9), 12)
        (1.0, 0.81)
    """
    known, q = get(activation), at_least("q", q, 0)
    sigma_w = at_least("sigma_w", sigma_w, 0)
    if sigma_w == 0:
        return 0.0
    if known.closed.square_slope is not None:
        return sigma_w**2 * known.closed.square_slope(q)
    if q == 0:
        offset = float(known.function(np.zeros(1))[0])
        below, above = slopes_at_zero(known)
        limit = 0.5 * (below**2 + above**2)
        if offset != 0:
            if abs(above - below) > 1e-6:
                return float("inf") * np.sign(offset * (above - below))
            step = 1e-4  # phi(0) phi''(0), from phi' on both sides
            low, high = known.derivative(np.array([-step, step]))
            limit += offset * float(high - low) / (2 * step)
        return sigma_w**2 * limit
    scaled = expect(lambda h: known.function(h) * known.derivative(h) * h / q, q, known.kinks)
    return sigma_w**2 * scaled


def q_trajectory(
    q0: float, depth: int, activation: ActivationLike, sigma_w: float, sigma_b: float = 0.0
) -> NDArray[np.float64]:
    r"""Pre-activation variances `[depth + 1]` of the layers 0, ..., depth.

    Args:
        q0: Variance at layer 0. For inputs x before the first weights it is
            $\sigma_w^2 |x|^2 / \text{fan\_in} + \sigma_b^2$.
        depth: Number of times the map is applied, at least 0.
        activation: Name, function or record.
        sigma_w: $\sqrt{\text{fan\_in} \cdot Var[W]}$, at least 0.
        sigma_b: Standard deviation of the biases, at least 0.

    Returns:
        Starts with `q0`. Infinite from the layer on where the variance passes the range of
        floats.

    Raises:
        ValueError: If a number is negative or not finite.

    Example:
        Sigmoid with weights N(0, 1/fan_in) and biases N(0, 1) settles in three layers:

        >>> q_trajectory(1.112, 3, "sigmoid", 1.0, 1.0).round(4).tolist()
        [1.112, 1.2968, 1.302, 1.3021]
    """
    depth = count("depth", depth, 0)
    known = get(activation)
    values = [at_least("q0", q0, 0)]
    for _ in range(depth):
        q = values[-1]
        values.append(q_map(q, known, sigma_w, sigma_b) if np.isfinite(q) else np.inf)
    return np.array(values)
