r"""Variances of the usual initialisations, as torch and others draw them.

The theory's `sigma_w` is $\sqrt{\text{fan\_in} \cdot Var[W]}$; `sigma_w_squared` converts. Every
scheme comes as a function that returns Var W.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from isograd.theory.gains import torch_gain
from isograd.theory.ranges import at_least

__all__ = [
    "embedding_variance",
    "kaiming_variance",
    "lecun_variance",
    "orthogonal_variance",
    "sigma_w_squared",
    "torch_default_variance",
    "truncated_normal_std",
    "truncated_normal_variance",
    "uniform_variance",
    "xavier_variance",
]


def sigma_w_squared(variance: float, fan_in: float) -> float:
    r"""Weight variance in the theory's unit, $\sigma_w^2 = \text{fan\_in} \cdot Var[W]$.

    Args:
        variance: Var W, at least 0.
        fan_in: Number of inputs that each output sums, above 0.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> round(sigma_w_squared(torch_default_variance(300), 300) * 3, 12)
        1.0
    """
    return at_least("fan_in", fan_in, 0, strictly=True) * at_least("variance", variance, 0)


def xavier_variance(fan_in: float, fan_out: float, gain: float = 1.0) -> float:
    r"""Var W of `xavier_uniform_` and `xavier_normal_` (Glorot and Bengio, 2010).

    $2 g^2 / (\text{fan\_in} + \text{fan\_out})$; uniform and normal have the same variance.

    Args:
        fan_in: Inputs of a unit, above 0.
        fan_out: Units an input goes to, above 0.
        gain: Factor on the standard deviation, at least 0.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> sigma_w_squared(xavier_variance(100, 300), 100)
        0.5
    """
    fan_in = at_least("fan_in", fan_in, 0, strictly=True)
    fan_out = at_least("fan_out", fan_out, 0, strictly=True)
    return 2 * at_least("gain", gain, 0) ** 2 / (fan_in + fan_out)


def kaiming_variance(
    fan_in: float,
    fan_out: float | None = None,
    *,
    a: float = 0.0,
    mode: Literal["fan_in", "fan_out"] = "fan_in",
    nonlinearity: str = "leaky_relu",
) -> float:
    r"""Var W of `kaiming_uniform_` and `kaiming_normal_`: $g^2 / \text{fan}$ (He et al., 2015).

    Args:
        fan_in: Inputs of a unit, above 0.
        fan_out: Units an input goes to, above 0; needed for `mode="fan_out"`.
        a: Slope of the leaky ReLU; used only with `nonlinearity="leaky_relu"`, as in torch.
        mode: Which fan the variance is divided by.
        nonlinearity: Name for torch's gain table.

    Raises:
        ValueError: If a number is out of range, or `fan_out` is needed and missing.
        UnknownActivationError: If torch's table has no such nonlinearity.

    Example:
        >>> round(kaiming_variance(50), 12), round(kaiming_variance(50, a=5**0.5) * 3 * 50, 12)
        (0.04, 1.0)
    """
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"`mode` must be 'fan_in' or 'fan_out', got {mode!r}.")
    fan = fan_in if mode == "fan_in" else fan_out
    if fan is None:
        raise ValueError("`fan_out` is needed for mode 'fan_out'.")
    gain = torch_gain(nonlinearity, a if nonlinearity == "leaky_relu" else None)
    return gain**2 / at_least(mode, fan, 0, strictly=True)


def lecun_variance(fan_in: float) -> float:
    r"""Var W of LeCun (1998) initialisation, $1 / \text{fan\_in}$: sigma_w is 1.

    Args:
        fan_in: Inputs of a unit, above 0.

    Raises:
        ValueError: If `fan_in` is not above 0.

    Example:
        >>> lecun_variance(25)
        0.04
    """
    return 1 / at_least("fan_in", fan_in, 0, strictly=True)


def torch_default_variance(fan_in: float) -> float:
    r"""Var W of a fresh `nn.Linear` or `nn.Conv`, $1 / (3 \text{fan\_in})$: sigma_w^2 is 1/3.

    torch calls `kaiming_uniform_(a=sqrt(5))`, which is uniform in $\pm 1/\sqrt{\text{fan\_in}}$.
    The bias has the same variance. Transposed convolutions take torch's fan_in, see `fans`.

    Args:
        fan_in: Inputs of a unit, above 0.

    Raises:
        ValueError: If `fan_in` is not above 0.

    Example:
        >>> round(torch_default_variance(10) * 30, 12)
        1.0
    """
    return 1 / (3 * at_least("fan_in", fan_in, 0, strictly=True))


def orthogonal_variance(rows: int, columns: int, gain: float = 1.0) -> float:
    r"""Var W of `orthogonal_`: $g^2 / \max(\text{rows}, \text{columns})$ (Saxe et al., 2014).

    All singular values are `gain`, so the shorter side's vectors have norm `gain`.

    Args:
        rows: First dimension, the outputs.
        columns: All other dimensions together, the inputs.
        gain: The singular values, at least 0.

    Returns:
        Mean square of the entries. With more rows than columns sigma_w^2 is
        `gain ** 2 * columns / rows`.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> sigma_w_squared(orthogonal_variance(64, 64, gain=2.0), 64)
        4.0
    """
    rows = int(at_least("rows", rows, 1))
    columns = int(at_least("columns", columns, 1))
    return at_least("gain", gain, 0) ** 2 / max(rows, columns)


def uniform_variance(low: float, high: float) -> float:
    r"""Variance of a uniform distribution, $(high - low)^2 / 12$.

    Args:
        low: Lower end.
        high: Upper end.

    Example:
        >>> round(uniform_variance(-1, 1) * 3, 12)
        1.0
    """
    return (high - low) ** 2 / 12


def embedding_variance(width: int | None = None, *, scale: float = 1.0) -> float:
    r"""Variance of the entries of a fresh `nn.Embedding`, N(0, 1), after an optional factor.

    Args:
        width: If given, the factor $\sqrt{\text{width}}$ of Vaswani et al. (2017) is applied.
        scale: Another factor on the entries.

    Example:
        >>> embedding_variance(), embedding_variance(512, scale=0.5)
        (1.0, 128.0)
    """
    return scale**2 * (1 if width is None else width)


def truncated_normal_variance(
    std: float, *, mean: float = 0.0, low: float = -2.0, high: float = 2.0, relative: bool = False
) -> float:
    r"""Variance of a normal distribution cut off at both ends, about its own mean.

    torch's `trunc_normal_(std=0.02, a=-2, b=2)` cuts at plus or minus 2 in absolute units: 100
    standard deviations, no cut at all. TensorFlow and JAX cut at 2 standard deviations
    (`relative=True`), which leaves 0.7737 of the variance; JAX divides it out again.

    Args:
        std: Standard deviation before the cut, above 0.
        mean: Mean before the cut.
        low: Lower end.
        high: Upper end.
        relative: Whether the ends count in standard deviations from the mean.

    Raises:
        ValueError: If `std` is not above 0 or `low` is not below `high`.

    Example:
        >>> round(truncated_normal_variance(0.02) / 0.02**2, 9)
        1.0
        >>> round(truncated_normal_variance(1.0, relative=True), 9)
        0.773741304
    """
    std = at_least("std", std, 0, strictly=True)
    if not low < high:
        raise ValueError(f"`low` must be below `high`, got {low!r} and {high!r}.")
    ends = np.array([low, high], dtype=float)
    a, b = ends if relative else (ends - mean) / std
    # The textbook formula is 1 minus almost 1 for narrow or far cuts; this sum is not. The
    # density is taken relative to its largest value, from there to where it is e^-800 of it.
    top = min(max(0.0, a), b)
    reach = 800 / max(abs(top), 1.0) if abs(top) > 20 else 40.0
    a, b = max(a, top - reach), min(b, top + reach)
    edges = np.linspace(a, b, 65)
    nodes, weights = np.polynomial.legendre.leggauss(20)
    half = 0.5 * np.diff(edges)
    x = (0.5 * (edges[1:] + edges[:-1])[:, None] + half[:, None] * nodes).ravel() - top
    mass = (half[:, None] * weights).ravel() * np.exp(-x * (0.5 * x + top))
    mass /= mass.sum()
    return float(std**2 * (mass @ np.square(x - mass @ x)))


def truncated_normal_std(std: float, cut: float = 2.0) -> float:
    r"""The `std` to ask for so that the values cut at `cut` of it have standard deviation `std`.

    JAX's `variance_scaling(..., "truncated_normal")` does this for cut 2, dividing by
    0.87962566103423978.

    Args:
        std: Standard deviation wanted, above 0.
        cut: Where both ends are, in standard deviations before the cut, above 0.

    Raises:
        ValueError: If a number is not above 0.

    Example:
        >>> round(1 / truncated_normal_std(1.0), 12)
        0.879625661034
    """
    cut = at_least("cut", cut, 0, strictly=True)
    shrunk = truncated_normal_variance(1.0, low=-cut, high=cut, relative=True)
    return at_least("std", std, 0, strictly=True) / math.sqrt(shrunk)
