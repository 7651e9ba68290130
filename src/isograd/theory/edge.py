r"""The edge of chaos: weights and biases at which gradients neither vanish nor explode.

At a given variance q the two conditions chi_1 = 1 and q' = q have one solution (Poole et al.,
2016; Hayou et al., 2019):

    sigma_w^2 = 1 / E[phi'(sqrt(q) Z)^2]
    sigma_b^2 = q - sigma_w^2 E[phi(sqrt(q) Z)^2]

The edge is the curve that q draws. A point of it is of use only if q is a stable fixed point.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from isograd.theory.activation import Activation
from isograd.theory.activations import ActivationLike, get
from isograd.theory.chi import chi_1
from isograd.theory.fixed_points import fixed_point
from isograd.theory.moments import mean_square, mean_square_derivative
from isograd.theory.qmap import q_map, q_slope
from isograd.theory.ranges import at_least
from isograd.theory.roots import root_between

__all__ = ["EdgePoint", "Phase", "critical_scale", "edge_of_chaos", "edge_of_chaos_bias", "phase"]

Phase = Literal["ordered", "critical", "chaotic", "undefined"]

# A slope closer to 1 is 1: q returns from one side only, as with softshrink.
_MARGIN = 1e-9
_LOGS = np.log(10.0 ** np.arange(-12, 12.1, 0.1))


@dataclass(frozen=True, slots=True)
class EdgePoint:
    """A point of the edge of chaos, or the reason why there is none.

    Attributes:
        sigma_w: Standard deviation `sqrt(fan_in * Var W)`; None if there is no stable point.
        sigma_b: Standard deviation of the biases; None likewise.
        q: Variance of the fixed point. 0 where the point is the limit of a vanishing variance
            (tanh at `(1, 0)`); None on a line of fixed points (ReLU) and where there is none.
        slope: Derivative dq'/dq at q; 1 in the limit and on a line. None if there is no point.
        stable: Whether q returns to the fixed point.
        unstable: All `(sigma_w, sigma_b, q)` found at which chi_1 is 1 but q runs away.
        text: One sentence for people.
    """

    sigma_w: float | None
    sigma_b: float | None
    q: float | None
    slope: float | None
    stable: bool
    unstable: tuple[tuple[float, float, float], ...]
    text: str


def critical_scale(activation: ActivationLike, q: float = 1.0) -> float:
    r"""Weight variance $\sigma_w^2 = 1 / E[\phi'(\sqrt{q} Z)^2]$ at which chi_1 is 1 at this q.

    For nets whose q is held, by normalisation or by the input: whether q stays is not asked.

    Args:
        activation: Name, function or record.
        q: Pre-activation variance, at least 0.

    Returns:
        A variance, `fan_in * Var W`. Infinite if the derivative is 0 almost everywhere.

    Raises:
        ValueError: If `q` is negative or not finite.

    Example:
        >>> critical_scale("relu"), critical_scale("sigmoid", 0.0)
        (2.0, 16.0)
    """
    slope = mean_square_derivative(activation, q)
    return 1 / slope if slope > 0 else math.inf


def edge_of_chaos(activation: ActivationLike, sigma_b: float = 0.0) -> EdgePoint:
    r"""The weights at which chi_1 is 1 at a stable fixed point, for given biases.

    Args:
        activation: Name, function or record.
        sigma_b: Standard deviation of the biases, at least 0.

    Returns:
        Its `sigma_w` is None, and `text` says why, if no stable point was found for q between
        1e-12 and 1e12. Of several the one of smallest q.

    Raises:
        ValueError: If `sigma_b` is negative or not finite.

    Example:
        >>> round(edge_of_chaos("tanh").sigma_w, 12), round(edge_of_chaos("relu").sigma_w ** 2, 12)
        (1.0, 2.0)
        >>> round(edge_of_chaos("tanh", 0.05**0.5).sigma_w ** 2, 4)
        1.761
        >>> edge_of_chaos("relu", 0.1).sigma_w is None
        True
    """
    known, sigma_b = get(activation), at_least("sigma_b", sigma_b, 0)
    if known.homogeneous:
        return _homogeneous(known, sigma_b)

    def excess(log_q: float) -> float:
        q = math.exp(log_q)
        return (q - critical_scale(known, q) * mean_square(known, q) - sigma_b**2) / q

    roots = [math.exp(x) for x in _roots(excess)]
    candidates = [(math.sqrt(critical_scale(known, q)), sigma_b, q) for q in roots]
    if sigma_b == 0 and float(known.function(np.zeros(1))[0]) == 0:
        candidates.insert(0, (math.sqrt(critical_scale(known, 0.0)), 0.0, 0.0))
    return _choose(known, candidates, f"sigma_b = {sigma_b:g}")


def edge_of_chaos_bias(activation: ActivationLike, sigma_w: float) -> EdgePoint:
    r"""The biases at which chi_1 is 1 at a stable fixed point, for given weights.

    Args:
        activation: Name, function or record.
        sigma_w: $\sqrt{\text{fan\_in} \cdot Var[W]}$, above 0.

    Returns:
        As `edge_of_chaos`, with `sigma_b` found.

    Raises:
        ValueError: If `sigma_w` is not above 0 or not finite.

    Example:
        >>> round(edge_of_chaos_bias("tanh", 1.760955**0.5).sigma_b ** 2, 4)
        0.05
    """
    known, sigma_w = get(activation), at_least("sigma_w", sigma_w, 0, strictly=True)
    if known.homogeneous:
        point = _homogeneous(known, 0.0)
        if point.sigma_w is not None and abs(sigma_w / point.sigma_w - 1) < 1e-9:
            return point
        return _none((), f"{known.label} has chi_1 = 1 at sigma_w = {point.sigma_w} only.")

    def excess(log_q: float) -> float:
        return sigma_w**2 * mean_square_derivative(known, math.exp(log_q)) - 1

    candidates: list[tuple[float, float, float]] = []
    for log_q in _roots(excess):
        q = math.exp(log_q)
        rest = q - sigma_w**2 * mean_square(known, q)
        if rest >= -1e-12 * q:
            candidates.append((sigma_w, math.sqrt(max(0.0, rest)), q))
    at_zero = sigma_w**2 * mean_square_derivative(known, 0.0)
    if abs(at_zero - 1) < 1e-12 and float(known.function(np.zeros(1))[0]) == 0:
        candidates.insert(0, (sigma_w, 0.0, 0.0))
    return _choose(known, candidates, f"sigma_w = {sigma_w:g}")


def phase(
    activation: ActivationLike, sigma_w: float, sigma_b: float = 0.0, *, tolerance: float = 1e-6
) -> Phase:
    r"""Ordered (chi_1 < 1), critical or chaotic (chi_1 > 1).

    Taken at the stable fixed point that q = 1 flows to, at q = 0 if the variance vanishes, and at
    any q for ReLU and its like.

    Args:
        activation: Name, function or record.
        sigma_w: $\sqrt{\text{fan\_in} \cdot Var[W]}$, at least 0.
        sigma_b: Standard deviation of the biases, at least 0.
        tolerance: How far from 1 chi_1 may be at criticality.

    Returns:
        "undefined" if the variance diverges: there is no q to judge at.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> phase("tanh", 0.9), phase("tanh", 1.0), phase("tanh", 1.1), phase("exp", 2.0)
        ('ordered', 'critical', 'chaotic', 'undefined')
    """
    known = get(activation)
    if known.homogeneous:
        q = 1.0
    else:
        found = fixed_point(known, sigma_w, sigma_b)
        q = found.limit
        if not math.isfinite(q):
            return "undefined"
    chi = chi_1(known, sigma_w, q)
    if abs(chi - 1) <= tolerance:
        return "critical"
    return "ordered" if chi < 1 else "chaotic"


def _homogeneous(known: Activation, sigma_b: float) -> EdgePoint:
    scale = mean_square_derivative(known, 1.0)
    if sigma_b > 0 or scale == 0:
        text = f"{known.label} has chi_1 = dq'/dq: at chi_1 = 1 biases make the variance diverge."
        return _none((), text)
    sigma_w = math.sqrt(1 / scale)
    text = f"sigma_w = {sigma_w:.6g}; every variance is a fixed point."
    return EdgePoint(sigma_w, 0.0, None, 1.0, True, (), text)


def _roots(f: Callable[[float], float]) -> list[float]:
    """Roots in ln q; values within rounding of 0 count as 0 and as no change of sign."""
    values = [(x, y) for x in _LOGS.tolist() if abs(y := f(x)) > 1e-13 and not math.isnan(y)]
    return [
        root_between(f, a, b)
        for (a, y), (b, z) in itertools.pairwise(values)
        if y * z < 0 and math.isfinite(y) and math.isfinite(z)
    ]


def _choose(
    known: Activation, candidates: list[tuple[float, float, float]], given: str
) -> EdgePoint:
    unstable: list[tuple[float, float, float]] = []
    chosen: tuple[float, float, float, float] | None = None
    for sigma_w, sigma_b, q in candidates:
        if not math.isfinite(sigma_w):
            continue
        slope = q_slope(q, known, sigma_w)
        stable = abs(slope) < 1 - _MARGIN if q > 0 else _returns_to_zero(known, sigma_w)
        if not stable:
            unstable.append((sigma_w, sigma_b, q))
        elif chosen is None:
            chosen = (sigma_w, sigma_b, q, slope)
    if chosen is None:
        why = "only with an unstable variance" if unstable else "nowhere"
        return _none(tuple(unstable), f"At {given} {known.label} has chi_1 = 1 {why}.")
    sigma_w, sigma_b, q, slope = chosen
    text = f"sigma_w = {sigma_w:.6g}, sigma_b = {sigma_b:.6g}, at q = {q:.6g}."
    if q == 0:
        text += " The variance goes to 0, by a power of the depth."
    return EdgePoint(sigma_w, sigma_b, q, slope, True, tuple(unstable), text)


def _returns_to_zero(known: Activation, sigma_w: float) -> bool:
    """Whether small variances fall. At q = 0 the slope is chi_1 = 1, so the next order decides."""
    for q in 10.0 ** np.arange(-4, 2):
        growth = q_map(float(q), known, sigma_w) / q - 1
        if abs(growth) > 1e-10:  # hardtanh is linear to e^(-1 / 2q)
            return bool(growth < 0)
    return False


def _none(unstable: tuple[tuple[float, float, float], ...], text: str) -> EdgePoint:
    return EdgePoint(None, None, None, None, False, unstable, text)
