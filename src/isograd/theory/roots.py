"""Root of a function of one variable between two points of opposite sign."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from scipy import optimize

__all__ = ["dip", "root_between"]


def root_between(f: Callable[[float], float], low: float, high: float) -> float:
    """Root of `f`, to the spacing of floats; `f(low)` and `f(high)` have opposite signs.

    Raises:
        ValueError: If they have not.

    Example:
        >>> round(root_between(lambda x: x**2 - 2, 0.0, 2.0), 12)
        1.414213562373
    """
    return cast(float, optimize.brentq(f, low, high, xtol=1e-15, rtol=cast(Any, 1e-15)))


def dip(f: Callable[[float], float], low: float, high: float) -> tuple[float, float]:
    """Place and value of the least `f` on the interval.

    Example:
        >>> [round(v, 6) for v in dip(lambda x: (x - 0.3) ** 2 + 1, 0.0, 1.0)]
        [0.3, 1.0]
    """
    found = cast(
        Any,
        optimize.minimize_scalar(f, bounds=(low, high), method="bounded", options={"xatol": 1e-9}),
    )
    return float(found.x), float(found.fun)
