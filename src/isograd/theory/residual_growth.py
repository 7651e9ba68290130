r"""Residual nets with a single-layer branch, `x + phi(W x)`: growth below exponential.

The branch of a bounded activation weighs less and less against a stream that grows, so gain^2
grows more slowly than by a constant factor per block (Yang and Schoenholz, 2017).
"""

from __future__ import annotations

import math

from isograd.theory.activations import ActivationLike
from isograd.theory.moments import mean_square, mean_square_derivative
from isograd.theory.ranges import at_least, count

__all__ = ["activation_branch_log_gain_squared"]


def activation_branch_log_gain_squared(
    activation: ActivationLike,
    layers: int,
    *,
    sigma_w_squared: float = 1.0,
    sigma_b_squared: float = 0.0,
    input_second_moment: float = 1.0,
) -> float:
    r"""Ln gain^2 of L blocks `x + phi(W x + b)`, by the recursion of the stream's second moment.

    $h_l = \sigma_w^2 q_l + \sigma_b^2$, $q_{l+1} = q_l + E \phi(\sqrt{h_l} z)^2$, and block l has
    gain^2 $1 + \sigma_w^2 E \phi'(\sqrt{h_l} z)^2$. Both cross terms vanish because W is
    independent of x and has mean 0; for an activation with a mean the stream's own mean is
    counted in q, as it should be.

    Args:
        activation: Name, function or record.
        layers: Blocks, L.
        sigma_w_squared: fan_in Var[W].
        sigma_b_squared: Var[b].
        input_second_moment: q_0, mean square of an element of the input.

    Returns:
        Natural log of gain^2 from the last block's output to the input.

    Raises:
        ValueError: If a number is out of range or the activation is not known.

    Example:
        Fifty tanh blocks; a constant doubling would give 34.7:

        >>> round(activation_branch_log_gain_squared("tanh", 50), 3)
        7.216
    """
    weight = at_least("sigma_w_squared", sigma_w_squared, 0)
    bias = at_least("sigma_b_squared", sigma_b_squared, 0)
    q = at_least("input_second_moment", input_second_moment, 0)
    log_gain = 0.0
    for _ in range(count("layers", layers, 0)):
        h = weight * q + bias
        log_gain += math.log1p(weight * mean_square_derivative(activation, h))
        q += mean_square(activation, h)
    return log_gain
