r"""Fixed points of the variance map, and what a deep net does between them.

A depth-independent prediction needs a fixed point that is stable, and that the net reaches. What
is not so is said, and no number is returned: the fixed points of GELU, SiLU and Mish near their
critical weights, for one, push q away.
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
from isograd.theory.moments import mean_square
from isograd.theory.qmap import q_map, q_slope
from isograd.theory.ranges import at_least
from isograd.theory.roots import dip, root_between

__all__ = ["FixedPoint", "Kind", "Stationary", "fixed_point"]

Kind = Literal[
    "stable",
    "unstable",
    "none: diverges",
    "none: vanishes",
    "line of fixed points",
]

# Searched for on this range of q, 4 points a decade.
_GRID = 10.0 ** np.arange(-16, 16.25, 0.25)
# |ln(q'/q)| below it is rounding.
_FLAT = 1e-13
# For h ~ N(0, q) and f >= 0, d ln E f / d ln q is at least -1/2. So the slope at a fixed point is
# too: q cannot oscillate for ever, and this many steps use up any overshooting.
_STEPS = 60


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """One solution of q' = q.

    Attributes:
        q: The variance, at least 0.
        slope: Derivative dq'/dq there.
        stable: Whether `|slope| < 1`, or the slope is 1 and q returns from both sides.
    """

    q: float
    slope: float
    stable: bool


@dataclass(frozen=True, slots=True)
class Stationary:
    """Where the variance goes with depth.

    Attributes:
        q: The stable, positive fixed point that `start` flows to; None if there is none.
        slope: Derivative dq'/dq at `q`; on a line of fixed points 1; else None.
        stable: Whether `q` is a number.
        kind: "stable"; "unstable": positive fixed points exist but q leaves them, to `limit`;
            "none: diverges", "none: vanishes": q goes to infinity or to 0;
            "line of fixed points": every q is one, as for ReLU at sigma_w^2 = 2 without bias.
        limit: Where q goes from `start`: `q`, 0, infinity; `start` itself on a line.
        points: All fixed points found for q in [0, 1e16], ascending. Empty on a line.
        start: The variance at layer 0.
        text: One sentence for people.
    """

    q: float | None
    slope: float | None
    stable: bool
    kind: Kind
    limit: float
    points: tuple[FixedPoint, ...]
    start: float
    text: str


def fixed_point(
    activation: ActivationLike, sigma_w: float, sigma_b: float = 0.0, *, start: float = 1.0
) -> Stationary:
    r"""Fixed point $q^*$ of the variance map, if there is one to speak of.

    Solves $q = \sigma_w^2 E[\phi(\sqrt{q} Z)^2] + \sigma_b^2$ (Poole et al., 2016).

    Args:
        activation: Name, function or record.
        sigma_w: $\sqrt{\text{fan\_in} \cdot Var[W]}$, at least 0.
        sigma_b: Standard deviation of the biases, at least 0.
        start: Variance at layer 0, above 0. It decides between several fixed points.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> round(fixed_point("sigmoid", 1.0, 1.0).q, 6)
        1.302134
        >>> he = fixed_point("relu", 2**0.5)
        >>> he.kind, he.q
        ('line of fixed points', None)
        >>> fixed_point("gelu", 1.5).kind, fixed_point("relu", 1.5).kind
        ('unstable', 'none: diverges')
    """
    known = get(activation)
    sigma_w, sigma_b = at_least("sigma_w", sigma_w, 0), at_least("sigma_b", sigma_b, 0)
    start = at_least("start", start, 0, strictly=True)
    if known.homogeneous:
        return _homogeneous(known, sigma_w, sigma_b, start)
    points = _points(known, sigma_w, sigma_b)
    limit = _limit(known, sigma_w, sigma_b, start, points)
    if 0 < limit < math.inf and all(p.q != limit for p in points):
        # q' touches q without crossing it: q stays here only if it starts exactly here.
        touch = FixedPoint(limit, q_slope(limit, known, sigma_w), False)
        points = tuple(sorted((*points, touch), key=lambda point: point.q))
    chosen = next((p for p in points if p.q == limit and p.q > 0 and p.stable), None)
    if chosen is not None:
        text = f"q settles at {chosen.q:.6g} (slope {chosen.slope:.4g})."
        return Stationary(chosen.q, chosen.slope, True, "stable", limit, points, start, text)
    away = [p for p in points if p.q > 0 and not p.stable]
    others = [p for p in points if p.q > 0 and p.stable]
    kind: Kind = "none: diverges" if math.isinf(limit) else "none: vanishes"
    goes = kind.removeprefix("none: ") if limit in (0, math.inf) else f"stays near {limit:.6g}"
    text = f"From {start:g}, q {goes}."
    if others:
        text += f" The stable fixed point {others[0].q:.6g} is not reached from there."
    elif away:
        kind = "unstable"
        text += f" The fixed point {away[0].q:.6g} is unstable (slope {away[0].slope:.4g})."
    return Stationary(None, None, False, kind, limit, points, start, text)


def _homogeneous(known: Activation, sigma_w: float, sigma_b: float, start: float) -> Stationary:
    """Q' = factor q + sigma_b^2, exactly."""
    factor = sigma_w**2 * mean_square(known, 1.0)
    on_line = abs(factor - 1) < 1e-12
    if on_line and sigma_b == 0:
        text = "Every q is a fixed point: q keeps the value it starts with."
        return Stationary(None, 1.0, False, "line of fixed points", start, (), start, text)
    if not on_line and factor < 1 and sigma_b > 0:
        q = sigma_b**2 / (1 - factor)
        points = (FixedPoint(q, factor, True),)
        text = f"q settles at {q:.6g} (slope {factor:.4g})."
        return Stationary(q, factor, True, "stable", q, points, start, text)
    down = factor < 1 and not on_line
    points = (FixedPoint(0.0, factor, down),) if sigma_b == 0 else ()
    text = f"From {start:g}, q {'vanishes' if down else 'diverges'}: factor {factor:.6g} a layer."
    kind: Kind = "none: vanishes" if down else "none: diverges"
    return Stationary(None, None, False, kind, 0.0 if down else math.inf, points, start, text)


def _growth(known: Activation, sigma_w: float, sigma_b: float, q: float) -> float:
    """ln(q' / q), cut to +-700; 0 if it is rounding."""
    following = q_map(q, known, sigma_w, sigma_b)
    if not following > 0:
        return -700.0
    value = min(700.0, max(-700.0, math.log(following) - math.log(q)))
    return 0.0 if abs(value) < _FLAT else value


def _points(known: Activation, sigma_w: float, sigma_b: float) -> tuple[FixedPoint, ...]:
    def growth(log_q: float) -> float:
        return _growth(known, sigma_w, sigma_b, math.exp(log_q))

    logs = np.log(_GRID).tolist()
    values = np.array([growth(x) for x in logs])
    brackets: list[tuple[float, float]] = []
    seen = [i for i, value in enumerate(values) if value != 0]
    for i, j in itertools.pairwise(seen):
        if values[i] * values[j] < 0:
            brackets.append((logs[i], logs[j]))
    # Two roots inside one cell of the grid: where |growth| dips without a change of sign.
    for i in range(1, len(logs) - 1):
        a, b, c = np.abs(values[i - 1 : i + 2])
        signs = np.sign(values[i - 1 : i + 2])
        if 0 < b < 0.5 and b <= min(a, c) and abs(signs.sum()) == 3:
            side = float(signs[0])
            x, least = dip(lambda x, side=side: side * growth(x), logs[i - 1], logs[i + 1])
            if least < -_FLAT:
                brackets += [(logs[i - 1], x), (x, logs[i + 1])]
    found = [_refine(known, sigma_w, sigma_b, growth, low, high) for low, high in brackets]
    offset = float(known.function(np.zeros(1))[0])
    if sigma_b == 0 and (offset == 0 or sigma_w == 0):
        slope = q_slope(0.0, known, sigma_w)
        inward = values[seen[0]] < 0 if seen else False
        found.append(FixedPoint(0.0, slope, slope < 1 or (slope == 1 and bool(inward))))
    return tuple(sorted(found, key=lambda point: point.q))


def _refine(
    known: Activation,
    sigma_w: float,
    sigma_b: float,
    growth: Callable[[float], float],
    low: float,
    high: float,
) -> FixedPoint:
    # brentq on ln q leaves 1e-14; a last Newton step in q removes its rounding.
    q = math.exp(root_between(growth, low, high))
    slope = q_slope(q, known, sigma_w)
    if abs(1 - slope) > 1e-3:
        q += (q_map(q, known, sigma_w, sigma_b) - q) / (1 - slope)
    return FixedPoint(q, slope, abs(slope) < 1)


def _limit(
    known: Activation,
    sigma_w: float,
    sigma_b: float,
    start: float,
    points: tuple[FixedPoint, ...],
) -> float:
    """Where the iteration from `start` ends."""
    q = start
    for _ in range(_STEPS):
        q = q_map(q, known, sigma_w, sigma_b)
        if not q <= _GRID[-1]:
            return math.inf
    near = [p.q for p in points if p.stable and abs(p.q - q) <= 1e-6 * p.q]
    direction = _growth(known, sigma_w, sigma_b, q) if q > 0 else -1.0
    if near or direction == 0:
        return min(near or [p.q for p in points], key=lambda point: abs(point - q), default=q)
    # By now q creeps along a rising map, which never jumps over a fixed point.
    if direction > 0:
        return min((p.q for p in points if p.q > q), default=math.inf)
    return max((p.q for p in points if p.q < q), default=0.0)
