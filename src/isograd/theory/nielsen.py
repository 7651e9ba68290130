r"""Wide sigmoid layers: Nielsen's learning speeds, predicted without a fitted constant.

Nielsen (2015, chapter 5) measures the norm of dC/db in every hidden layer of a net with weights
N(0, 1/fan_in), biases N(0, 1) and sigmoids. In wide layers the pre-activations are Gaussian,

    q_1 = sigma_w^2 |x|^2 / n + sigma_b^2,    q_{l+1} = sigma_w^2 E s(sqrt(q_l) z)^2 + sigma_b^2

and from layer l + 1 to layer l the gradient's norm is multiplied by
sigma_w sqrt(E s'(sqrt(q_l) z)^2) (Poole et al., 2016; Schoenholz et al., 2017). The theory is per
image; the measured norm is that of the batch mean, equal only while all images agree on the
gradient, as they do at these weights.
"""

from __future__ import annotations

import itertools
import math

from isograd.theory.moments import mean_square, mean_square_derivative
from isograd.theory.ranges import at_least, count
from isograd.theory.roots import root_between

__all__ = [
    "MNIST_SECOND_MOMENT",
    "critical_sigmoid_width",
    "nielsen_gains",
    "nielsen_ratios",
    "sigmoid_fixed_point",
    "sigmoid_layer_gain_squared",
]

MNIST_SECOND_MOMENT = 0.112
"""Mean of |x|^2 / 784 over MNIST's training images, pixels in [0, 1]: 0.1307^2 + 0.3081^2."""


def nielsen_gains(
    hidden_layers: int,
    *,
    input_second_moment: float = MNIST_SECOND_MOMENT,
    sigma_w_squared: float = 1.0,
    sigma_b_squared: float = 1.0,
) -> tuple[float, ...]:
    """Gains (amplitudes) between neighbouring hidden layers of a wide sigmoid net.

    Args:
        hidden_layers: At least 1.
        input_second_moment: Mean square of an input element, |x|^2 / n.
        sigma_w_squared: fan_in Var[W].
        sigma_b_squared: Var[b].

    Returns:
        `hidden_layers - 1` gains, the first from layer 2 to layer 1: speed of layer 1 over
        that of layer 2.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> [round(gain, 4) for gain in nielsen_gains(4)]
        [0.209, 0.205, 0.2048]
    """
    weight = at_least("sigma_w_squared", sigma_w_squared, 0)
    bias = at_least("sigma_b_squared", sigma_b_squared, 0)
    q = weight * at_least("input_second_moment", input_second_moment, 0) + bias
    gains: list[float] = []
    for _ in range(count("hidden_layers", hidden_layers) - 1):
        gains.append(math.sqrt(weight * mean_square_derivative("sigmoid", q)))
        q = weight * mean_square("sigmoid", q) + bias
    return tuple(gains)


def nielsen_ratios(
    hidden_layers: int,
    *,
    input_second_moment: float = MNIST_SECOND_MOMENT,
    sigma_w_squared: float = 1.0,
    sigma_b_squared: float = 1.0,
) -> tuple[float, ...]:
    """How many times faster the last hidden layer learns than each hidden layer.

    Args:
        hidden_layers: At least 1.
        input_second_moment: Mean square of an input element, |x|^2 / n.
        sigma_w_squared: fan_in Var[W].
        sigma_b_squared: Var[b].

    Returns:
        One ratio per hidden layer, first layer first; the last is 1.

    Raises:
        ValueError: If a number is out of range, or a gain is 0.

    Example:
        Nielsen's single runs on MNIST gave 4.70, 23.9 and 95.8:

        >>> [round(nielsen_ratios(layers)[0], 1) for layers in (2, 3, 4)]
        [4.8, 23.3, 113.9]
    """
    gains = nielsen_gains(
        hidden_layers,
        input_second_moment=input_second_moment,
        sigma_w_squared=at_least("sigma_w_squared", sigma_w_squared, 0, strictly=True),
        sigma_b_squared=sigma_b_squared,
    )
    behind = itertools.accumulate(reversed(gains), lambda total, gain: total / gain, initial=1.0)
    return tuple(behind)[::-1]


def sigmoid_fixed_point(sigma_w_squared: float, sigma_b_squared: float = 1.0) -> float:
    """Pre-activation variance deep in a wide sigmoid net.

    Args:
        sigma_w_squared: fan_in Var[W]; the width itself for N(0, 1) weights.
        sigma_b_squared: Var[b].

    Returns:
        q*, between sigma_b^2 + sigma_w^2 / 4 and sigma_b^2 + sigma_w^2 / 2.

    Raises:
        ValueError: If a number is negative.

    Example:
        >>> round(sigmoid_fixed_point(1.0), 6)
        1.302134
    """
    weight = at_least("sigma_w_squared", sigma_w_squared, 0)
    bias = at_least("sigma_b_squared", sigma_b_squared, 0)
    if weight == 0:
        return bias
    # E s^2 lies between s(0)^2 and 1/2: the sigmoid is bounded and symmetric around 1/2.
    low, high = bias + weight / 4, bias + weight / 2
    return root_between(lambda q: weight * mean_square("sigmoid", q) + bias - q, low, high)


def sigmoid_layer_gain_squared(sigma_w_squared: float, sigma_b_squared: float = 1.0) -> float:
    r"""gain^2 per layer deep in a wide sigmoid net.

    Larger weights push units into saturation, so that for large ones gain^2 grows only like
    $\sqrt{\sigma_w^2}$: q grows like $\sigma_w^2/2$ and $E s'^2 \to 1/(6 \sqrt{2 \pi q})$.

    Args:
        sigma_w_squared: fan_in Var[W]; the width itself for N(0, 1) weights.
        sigma_b_squared: Var[b].

    Returns:
        gain^2. 0.042 with weights of variance 1/fan_in.

    Raises:
        ValueError: If a number is negative.

    Example:
        >>> [round(sigmoid_layer_gain_squared(v), 3) for v in (1, 30, 784)]
        [0.042, 0.528, 2.68]
    """
    q = sigmoid_fixed_point(sigma_w_squared, sigma_b_squared)
    return sigma_w_squared * mean_square_derivative("sigmoid", q)


def critical_sigmoid_width(sigma_b_squared: float = 1.0) -> float:
    """Width at which a sigmoid net with N(0, 1) weights neither vanishes nor explodes.

    Below it, as in a chain of single neurons, gradients vanish; above it they explode.

    Args:
        sigma_b_squared: Var[b].

    Returns:
        The width; equally fan_in Var[W] of a critical sigmoid net.

    Raises:
        ValueError: If `sigma_b_squared` is negative.

    Example:
        >>> round(critical_sigmoid_width(), 1), round(critical_sigmoid_width(0.0), 1)
        (105.4, 103.0)
    """
    at_least("sigma_b_squared", sigma_b_squared, 0)

    def excess(log_width: float) -> float:
        return math.log(sigmoid_layer_gain_squared(math.exp(log_width), sigma_b_squared))

    return math.exp(root_between(excess, math.log(10), math.log(1e4 * (1 + sigma_b_squared))))
