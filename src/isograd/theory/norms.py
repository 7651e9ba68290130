r"""Normalisation layers: the exact factor of one op, and of a deep net that uses it.

One op. LayerNorm maps $x$ to $(x - mean) / \sqrt{var + \epsilon}$ over d features. Its Jacobian is
a projection that drops two directions, the mean and x itself, divided by the standard deviation;
RMSNorm drops one. So $||J||_F^2 / d$, the gain^2 for a white gradient, is known exactly.

A deep net. Behind a norm every layer sees q = 1 whatever the weights are, but the gradient is
still multiplied by $E \phi'^2 / E \phi^2$ per layer: normalised forward is not normalised backward.

BatchNorm after Yang et al. (2019), "A mean field theory of batch normalization". The finite-batch
formula is ours, by the same symmetry argument; see `batch_norm_mlp_gain_squared`.
"""

from __future__ import annotations

import math

from isograd.theory.activations import ActivationLike
from isograd.theory.moments import mean_square, mean_square_derivative, variance
from isograd.theory.ranges import at_least, count

__all__ = [
    "batch_norm_gain_squared",
    "batch_norm_mlp_gain_squared",
    "layer_norm_gain_squared",
    "pre_activation_norm_gain_squared",
    "rms_norm_gain_squared",
    "wide_batch_norm_mlp_gain_squared",
]


def layer_norm_gain_squared(width: int, input_variance: float, *, eps: float = 0.0) -> float:
    r"""Exact $||J||_F^2 / d$ of one LayerNorm, without its learnt scale.

    $(1 - 2/d) / var$ at eps 0; in general
    $(d - 2 + (\epsilon / (var + \epsilon))^2) / (d (var + \epsilon))$.

    Args:
        width: Features averaged over, d; at least 2.
        input_variance: Variance of the input over its features (divided by d, as LayerNorm does).
        eps: The layer's eps.

    Returns:
        gain^2 for a white gradient. A learnt scale multiplies it by its mean square.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> layer_norm_gain_squared(64, 4.0)
        0.2421875
    """
    d = count("width", width, 2)
    added = at_least("eps", eps, 0)
    spread = at_least("input_variance", input_variance, 0)
    total = at_least("input_variance + eps", spread + added, 0, strictly=True)
    return (d - 2 + (added / total) ** 2) / (d * total)


def rms_norm_gain_squared(width: int, second_moment: float, *, eps: float = 0.0) -> float:
    r"""Exact $||J||_F^2 / d$ of one RMSNorm, without its learnt scale.

    $(1 - 1/d) / ms$ at eps 0; in general
    $(d - 1 + (\epsilon / (ms + \epsilon))^2) / (d (ms + \epsilon))$.

    Args:
        width: Features averaged over, d.
        second_moment: Mean square of the input over its features.
        eps: The layer's eps.

    Returns:
        gain^2 for a white gradient. A learnt scale multiplies it by its mean square.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> rms_norm_gain_squared(64, 4.0)
        0.24609375
    """
    d = count("width", width)
    added = at_least("eps", eps, 0)
    moment = at_least("second_moment", second_moment, 0)
    total = at_least("second_moment + eps", moment + added, 0, strictly=True)
    return (d - 1 + (added / total) ** 2) / (d * total)


def batch_norm_gain_squared(batch: int, input_variance: float, *, eps: float = 0.0) -> float:
    r"""Exact $||J||_F^2 / B$ of one feature of BatchNorm in training mode.

    The same projection as LayerNorm's, over the B values of the feature in the batch (and its
    pixels). In eval mode it is a constant scale: $1 / (var + \epsilon)$.

    Args:
        batch: Values averaged over, B; batch times pixels for images.
        input_variance: Their variance (divided by B, as BatchNorm does for its output).
        eps: The layer's eps.

    Returns:
        gain^2 for a white gradient.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> batch_norm_gain_squared(64, 4.0)
        0.2421875
    """
    return layer_norm_gain_squared(count("batch", batch, 2), input_variance, eps=eps)


def pre_activation_norm_gain_squared(activation: ActivationLike) -> float:
    r"""gain^2 per layer of a wide net with a norm before every activation.

    $E \phi'(z)^2 / E \phi(z)^2$, z ~ N(0, 1), whatever the scale of the weights. It holds for
    LayerNorm in the layer and equally for any rule that makes pre-activations unit, such as LSUV.

    Args:
        activation: Name, function or record.

    Returns:
        gain^2 of one linear, norm, activation block.

    Raises:
        ValueError: If the activation is not known.

    Example:
        >>> [round(pre_activation_norm_gain_squared(a), 6) for a in ("relu", "tanh", "sigmoid")]
        [1.0, 1.177807, 0.152827]
    """
    return mean_square_derivative(activation) / mean_square(activation)


def wide_batch_norm_mlp_gain_squared(activation: ActivationLike) -> float:
    r"""gain^2 per layer of a wide net with BatchNorm before every activation, large batch.

    $E \phi'^2 / Var \phi$ at q = 1 (Yang et al., 2019): the batch mean is taken out as well, so
    less signal is left than under LayerNorm and gradients explode more.

    Args:
        activation: Name, function or record.

    Returns:
        gain^2 of one linear, norm, activation block as the batch grows.

    Raises:
        ValueError: If the activation is not known.

    Example:
        ReLU explodes by pi / (pi - 1):

        >>> round(wide_batch_norm_mlp_gain_squared("relu"), 6), round(math.pi / (math.pi - 1), 6)
        (1.466942, 1.466942)
    """
    return mean_square_derivative(activation) / variance(activation)


def batch_norm_mlp_gain_squared(batch: int, *, negative_slope: float = 0.0) -> float:
    r"""gain^2 per layer of a wide net of BatchNorm and leaky ReLU, at any batch size.

    With $y$ uniform on the sphere of radius $\sqrt B$ among mean-free vectors,
    $D = diag(\phi'(y))$ and P the projection off the mean,

    $$\frac{B}{a (B - 3)(B - 1)} \, E \, tr[(P - y y^T / B) D P D], \quad
    a = E \phi(y_1)^2 - E \phi(y_1) \phi(y_2)$$

    since the norm's input has covariance a P over the batch and $E[1/r^2]$ is that of a
    chi-square of B - 1. All expectations are arc-cosine and arc-sine kernels at correlation
    -1/(B - 1). Exact as the width grows.

    Args:
        batch: B, above 3: at 3 the mean is infinite.
        negative_slope: Slope for negative inputs; 0 for ReLU, 1 for a linear net.

    Returns:
        gain^2 of one linear, norm, activation block. (B - 2)/(B - 3) for a linear net; tends to
        pi/(pi - 1) for ReLU.

    Raises:
        ValueError: If `batch` is 3 or less.

    Example:
        >>> round(batch_norm_mlp_gain_squared(8, negative_slope=1.0), 9)
        1.2
        >>> round(batch_norm_mlp_gain_squared(32), 4)
        1.522
    """
    b, s = count("batch", batch, 4), float(negative_slope)
    rho = -1 / (b - 1)
    both = 0.25 + math.asin(rho) / (2 * math.pi)  # P(y_1 > 0, y_2 > 0)
    slopes = both * (1 + s * s) + 2 * s * (0.5 - both)  # E phi'(y_1) phi'(y_2)
    values = (1 + s * s) * _arc_cosine(rho) - 2 * s * _arc_cosine(-rho)  # E phi(y_1) phi(y_2)
    square = (1 + s * s) / 2  # E phi^2 = E phi'^2
    spread = square - values
    passed = b * square * (1 - 1 / b) ** 2 + (b - 1) / b * slopes
    dropped = (1 - 1 / b) * (square - values)
    return b / (spread * (b - 3) * (b - 1)) * (passed - dropped)


def _arc_cosine(rho: float) -> float:
    """E relu(u) relu(v) for unit Gaussians of correlation rho (Cho and Saul, 2009)."""
    root = math.sqrt((1 - rho) * (1 + rho))
    return (root + rho * (math.pi - math.acos(rho))) / (2 * math.pi)
