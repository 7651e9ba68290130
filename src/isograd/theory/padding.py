r"""Zero padding and pooling: gradient energy that leaves a convolution at its border.

Backward, a convolution with independent weights of variance `sigma_w_squared / fan_in` spreads the
squared gradient of every output pixel evenly over the `kernel` pixels below it. Pixels of the
padding receive their part too, and it is lost. Along one dimension the map from the squared
gradient of each output pixel to that of each input pixel is the banded Toeplitz matrix

    T[i, j] = 1 / kernel   where pixel i lies under the kernel at j, else 0       [size, size]

and dimensions multiply. All factors here are for `sigma_w_squared E phi'^2 = 1`; multiply by that
number. Circular padding loses nothing: its factor is exactly 1 (Xiao et al., 2018, whose
delta-orthogonal kernels need it). The derivation is ours; it holds for any weights that are
independent between taps.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigvalsh, toeplitz

from isograd.theory.ranges import count

__all__ = [
    "average_pool_gain_squared",
    "border_matrix",
    "max_pool_gain_squared",
    "per_element_factor",
    "zero_padding_asymptotic_gain_squared",
    "zero_padding_gain_squared",
]


def border_matrix(size: int, kernel: int, dilation: int = 1) -> NDArray[np.float64]:
    """The map of squared gradients along one dimension of a zero-padded convolution.

    Args:
        size: Pixels along the dimension; input and output have the same number ("same" padding).
        kernel: Taps; odd, so that the padding is symmetric.
        dilation: Distance between taps in pixels.

    Returns:
        `[size, size]`, symmetric, rows sum to 1 except near the border.

    Raises:
        ValueError: If a number is below 1 or the kernel is even.

    Example:
        >>> (3 * border_matrix(3, 3)).astype(int).tolist()
        [[1, 1, 0], [1, 1, 1], [0, 1, 1]]
    """
    size, kernel, dilation = (
        count("size", size),
        count("kernel", kernel),
        count("dilation", dilation),
    )
    if kernel % 2 == 0:
        raise ValueError(f"`kernel` must be odd for symmetric padding, got {kernel}.")
    offsets = dilation * np.arange(kernel // 2 + 1)
    column = np.zeros(size)
    column[offsets[offsets < size]] = 1 / kernel
    return toeplitz(column)


def zero_padding_gain_squared(
    size: int, kernel: int, *, layers: int = 1, dimensions: int = 2, dilation: int = 1
) -> float:
    r"""Share of a white gradient's energy that is left after zero-padded convolutions.

    $(1^T T^L 1 / H)^{dims}$; for one layer of 3 x 3 kernels $((3H - 2) / (3H))^2$.

    Args:
        size: Pixels along each dimension, H.
        kernel: Taps along each dimension; odd.
        layers: Convolutions in a row, L.
        dimensions: 1 for sequences, 2 for images, 3 for volumes.
        dilation: Distance between taps in pixels.

    Returns:
        Squared gradient norm at the input / at the output, over all layers; at most 1.

    Raises:
        ValueError: If a number is below 1 or the kernel is even.

    Example:
        One 3 x 3 convolution on 8 x 8 pixels loses 16 %:

        >>> round(zero_padding_gain_squared(8, 3), 5)
        0.84028
        >>> zero_padding_gain_squared(8, 1, layers=10)
        1.0
    """
    matrix = border_matrix(size, kernel, dilation)
    energy = np.ones(size)
    for _ in range(count("layers", layers)):
        energy = matrix @ energy
    return float(energy.mean() ** count("dimensions", dimensions))


def zero_padding_asymptotic_gain_squared(
    size: int, kernel: int, *, dimensions: int = 2, dilation: int = 1
) -> float:
    r"""Factor per layer of a deep zero-padded net: the largest eigenvalue of the border matrix.

    For 3 taps $(1 + 2 \cos(\pi / (H + 1))) / 3$ to the power of `dimensions`. Deep nets approach
    it once the gradient has gathered in the middle of the image, after about $H^2 / kernel^2$
    layers.

    Args:
        size: Pixels along each dimension, H.
        kernel: Taps along each dimension; odd.
        dimensions: 1 for sequences, 2 for images, 3 for volumes.
        dilation: Distance between taps in pixels.

    Returns:
        A factor on the squared gradient norm; at most 1.

    Raises:
        ValueError: If a number is below 1 or the kernel is even.

    Example:
        >>> round(zero_padding_asymptotic_gain_squared(8, 3), 5)
        0.92121
    """
    values = eigvalsh(border_matrix(size, kernel, dilation))
    return float(values[-1] ** count("dimensions", dimensions))


def average_pool_gain_squared(kernel: int, *, dimensions: int = 2) -> float:
    r"""Squared-gradient factor of average pooling for a white gradient.

    $||J||_F^2 / n_{out} = 1 / kernel^{dims}$: each output hands $1 / kernel^{dims}$ of its
    gradient to each of $kernel^{dims}$ inputs. The stride changes nothing while gradients of
    different outputs are uncorrelated.

    Args:
        kernel: Pixels along each dimension; the whole image for global pooling.
        dimensions: 1 for sequences, 2 for images, 3 for volumes.

    Returns:
        A factor on the total squared norm. Exact for any gradient if windows do not overlap.

    Raises:
        ValueError: If a number is below 1.

    Example:
        >>> average_pool_gain_squared(2)
        0.25
    """
    return 1 / count("kernel", kernel) ** count("dimensions", dimensions)


def max_pool_gain_squared() -> float:
    """Squared-gradient factor of max pooling: 1, each output's gradient goes to one input whole.

    Exact if windows do not overlap; with overlap exact for a white gradient, and larger where
    the gradients of neighbouring outputs agree, because they add up in the shared maximum.

    Returns:
        1.0.

    Example:
        >>> max_pool_gain_squared()
        1.0
    """
    return 1.0


def per_element_factor(elements_in: int, elements_out: int) -> float:
    """Turns a total gain into the gain of the RMS per element.

    The gains of this package are ratios of total norms. The RMS per element, which Glorot and
    Bengio (2010) balance, differs wherever the number of elements changes.

    Args:
        elements_in: Elements of the op's input.
        elements_out: Elements of the op's output.

    Returns:
        The factor on the gain (amplitude): sqrt(elements_out / elements_in).

    Raises:
        ValueError: If a number is below 1.

    Example:
        A stride of 2 on images quarters the elements:

        >>> per_element_factor(64, 16)
        0.5
    """
    return math.sqrt(count("elements_out", elements_out) / count("elements_in", elements_in))
