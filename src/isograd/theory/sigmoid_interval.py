r"""Where a sigmoid neuron does not shrink the gradient: the exercise of Nielsen's chapter 5.

$|w s'(w a + b)| \ge 1$ needs $|w| \ge 4$, since $s' \le 1/4$, and holds for activations a in an
interval whose width has a maximum of 0.4477 at |w| = 6.894: even the best weight keeps the
gradient only for less than half of the activations a neuron can receive.
"""

from __future__ import annotations

import functools
import math
from typing import Any

from scipy.optimize import minimize_scalar

__all__ = ["unshrunk_interval", "unshrunk_width", "widest_unshrunk"]


def unshrunk_width(weight: float) -> float:
    r"""Width of the interval of a where $|w s'(w a + b)| \ge 1$, sigmoid s.

    $\frac{2}{|w|} \ln(|w| (1 + \sqrt{1 - 4/|w|}) / 2 - 1)$ (Nielsen, 2015); the bias only shifts
    the interval.

    Args:
        weight: w.

    Returns:
        The width; 0 for |w| of at most 4.

    Raises:
        ValueError: If `weight` is not finite.

    Example:
        >>> round(unshrunk_width(4.5), 6), unshrunk_width(3.9)
        (0.308065, 0.0)
    """
    size = abs(weight)
    if not math.isfinite(size):
        raise ValueError(f"`weight` must be finite, got {weight!r}.")
    if size <= 4:
        return 0.0
    return 2 / size * math.log(size * (1 + math.sqrt(1 - 4 / size)) / 2 - 1)


def unshrunk_interval(weight: float, bias: float) -> tuple[float, float] | None:
    """Ends of the interval of a where |w s'(w a + b)| >= 1, sigmoid s.

    Args:
        weight: w.
        bias: b.

    Returns:
        Lower and upper end, centred at -b/w; None for |w| below 4.

    Raises:
        ValueError: If `weight` is not finite.

    Example:
        >>> unshrunk_interval(4.0, -2.0), unshrunk_interval(1.0, 0.0)
        ((0.5, 0.5), None)
    """
    half = unshrunk_width(weight) / 2
    if abs(weight) < 4:
        return None
    centre = -bias / weight
    return centre - half, centre + half


@functools.cache
def widest_unshrunk() -> tuple[float, float]:
    """The weight with the widest interval, and that width.

    Returns:
        |w| and the width.

    Example:
        >>> [round(x, 6) for x in widest_unshrunk()]
        [6.894151, 0.447743]
    """
    best: Any = minimize_scalar(
        lambda w: -unshrunk_width(w), bounds=(4, 30), method="bounded", options={"xatol": 1e-9}
    )
    return float(best.x), -float(best.fun)
