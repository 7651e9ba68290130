"""Derivative of a number along a direction by finite differences, with an honest error."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

# Steps relative to the size of what is shifted, the most trusted first.
STEPS = {
    "float64": (1e-5, 1e-6, 1e-4, 1e-7, 1e-3, 1e-2),
    "float32": (1e-2, 3e-3, 3e-2, 1e-3, 1e-1),
    "low": (1e-1, 3e-2, 3e-1),
}
_QUICK = {"float64": 1e-6}
_ROUNDING = {"float64": 2.0**-53, "float32": 2.0**-24, "low": 2.0**-9}
# A loss is a sum of many terms; its error is some units in the last place.
_UNITS = 16


@dataclass(frozen=True, slots=True)
class Derivative:
    """A derivative and how far it can be trusted.

    Attributes:
        value: Central differences, extrapolated to a step of 0.
        uncertainty: Change by the extrapolation, plus rounding.
        rounding: Of these, what rounding alone may do.
        eps: The relative step.
        right: One-sided difference forward.
        left: One-sided difference backward.
    """

    value: float
    uncertainty: float
    rounding: float
    eps: float
    right: float
    left: float


def derivative(
    function: Callable[[float], float],
    size: float,
    precision: str = "float64",
    *,
    eps: float | None = None,
    expected: float | None = None,
    tolerance: float = 0.0,
) -> Derivative:
    """Derivative of `function` at 0.

    Central differences at h and h / 2, extrapolated (Richardson, 1911), over several h; the one
    with the least uncertainty wins. Stops early where it confirms `expected`.

    Args:
        function: Of the shift.
        size: Norm of what is shifted; the unit of the steps. 0 counts as 1.
        precision: `float64`, `float32` or `low`: of the function's values.
        eps: Try this relative step only.
        expected: What the derivative should be.
        tolerance: Relative; when `expected` counts as confirmed.

    Example:
        >>> import math
        >>> round(derivative(math.exp, 1.0).value, 10)
        1.0
    """
    unit = size if size > 0 and math.isfinite(size) else 1.0
    if expected is not None and eps is None and precision in _QUICK:
        quick = _central(function, unit, precision)
        if confirms(quick, expected, tolerance):
            return quick
    middle = function(0.0)
    best: Derivative | None = None
    for relative in (eps,) if eps else STEPS[precision]:
        h = relative * unit
        values = {k: function(k * h / 2) for k in (-2, -1, 1, 2)}
        coarse, fine = (values[2] - values[-2]) / (2 * h), (values[1] - values[-1]) / h
        largest = max(abs(v) for v in (*values.values(), middle))
        rounding = _UNITS * _ROUNDING[precision] * largest / h
        found = Derivative(
            (4 * fine - coarse) / 3,
            abs(fine - coarse) / 3 + rounding,
            rounding,
            relative,
            (values[1] - middle) / (h / 2),
            (middle - values[-1]) / (h / 2),
        )
        if best is None or found.uncertainty < best.uncertainty or math.isnan(best.value):
            best = found
        if expected is not None and confirms(found, expected, tolerance):
            return found
    assert best is not None
    return best


def _central(function: Callable[[float], float], unit: float, precision: str) -> Derivative:
    """Plain central differences at one step: two calls, enough where they confirm a gradient."""
    h = _QUICK[precision] * unit
    high, low = function(h), function(-h)
    value = (high - low) / (2 * h)
    rounding = _UNITS * _ROUNDING[precision] * max(abs(high), abs(low)) / h
    return Derivative(value, rounding, rounding, _QUICK[precision], value, value)


def confirms(found: Derivative, expected: float, tolerance: float) -> bool:
    """True if a derivative is `expected`, and is known well enough to say so."""
    scale = max(abs(found.value), abs(expected))
    if not math.isfinite(scale):
        return False
    close = abs(found.value - expected) <= tolerance * scale + found.rounding
    # Below its own rounding a number is as good as zero.
    return close and (
        found.uncertainty <= max(tolerance, 1e-3) * scale or scale <= 10 * found.rounding
    )


def relative_error(a: float, b: float) -> float:
    """|a - b| / the larger of the two; 0 if both are 0.

    >>> relative_error(1.0, 0.99), relative_error(0.0, 0.0)
    (0.010000000000000009, 0.0)
    """
    scale = max(abs(a), abs(b))
    if not math.isfinite(scale) or math.isnan(a) or math.isnan(b):
        return math.inf
    return abs(a - b) / scale if scale else 0.0
