"""Numbers as people read them: three significant digits, decades with a sign, whole percents."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

_BLOCKS = "▁▂▃▄▅▆▇█"


def number(value: float | None) -> str:
    """Three significant digits, zeros kept so that columns align.

    >>> [number(x) for x in (0.25, 12, 1234.0, 1.5e-7, 0, None)]
    ['0.250', '12.0', '1230', '1.50e-7', '0', '-']
    """
    if value is None:
        return "-"
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    if 999.5 <= abs(value) < 1e5:
        return str(int(float(f"{value:.3g}")))
    if abs(value) < 1e-3:
        return _exponent(f"{value:.2e}")
    return _exponent(f"{value:#.3g}".rstrip("."))


def plain(value: float) -> str:
    """At most three significant digits; whole numbers below a million in full.

    >>> [plain(x) for x in (0.1, 32000, 0.12345, 2.5e-9)]
    ['0.1', '32000', '0.123', '2.5e-9']
    """
    if math.isfinite(value) and abs(value) < 1e6 and value == int(value):
        return str(int(value))
    return _exponent(f"{value:.3g}")


def signed(decades: float) -> str:
    """Decades with a sign; two decimals, one from 10 on.

    >>> [signed(x) for x in (-0.602, 0.0, -12.34, float("-inf"))]
    ['-0.60', '0.00', '-12.3', '-inf']
    """
    if not math.isfinite(decades):
        return str(decades) if decades <= 0 or math.isnan(decades) else f"+{decades}"
    text = f"{decades:+.1f}" if abs(decades) >= 9.995 else f"{decades:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text


def times(ratio: float) -> str:
    """A ratio as a multiple.

    >>> times(11.43)
    '11.4x'
    """
    return f"{number(ratio)}x" if math.isfinite(ratio) else str(ratio)


def percents(parts: Sequence[float]) -> tuple[int, ...]:
    """Whole percents of the sum, by largest remainder, so that they add up to 100.

    >>> percents([1, 1, 1])
    (34, 33, 33)
    """
    total = sum(parts)
    if not total or not math.isfinite(total):
        return (0,) * len(parts)
    exact = [100 * part / total for part in parts]
    whole = [math.floor(value) for value in exact]
    order = sorted(range(len(parts)), key=lambda i: whole[i] - exact[i])
    for i in order[: 100 - sum(whole)]:
        whole[i] += 1
    return tuple(whole)


def ratio(top: float, bottom: float) -> float:
    """Top / bottom; nan where that says nothing."""
    if bottom == 0 or not (math.isfinite(top) and math.isfinite(bottom)):
        return math.nan
    return top / bottom


def log10(value: float) -> float:
    """Log10 of a positive finite number, else nan."""
    return math.log10(value) if value > 0 and math.isfinite(value) else math.nan


def spark(values: Sequence[float], width: int = 24, *, log: bool = False) -> str:
    """A line of block characters; gaps where a value is not finite.

    >>> spark([0, 1, 2, 3])
    '▁▃▆█'
    """
    if len(values) > width:
        last = len(values) - 1
        values = [values[round(i * last / (width - 1))] for i in range(width)]
    heights = [log10(value) if log else value for value in values]
    finite = [height for height in heights if math.isfinite(height)]
    if not finite:
        return " " * len(heights)
    low, span = min(finite), (max(finite) - min(finite)) or 1.0
    return "".join(
        _BLOCKS[round((h - low) / span * 7)] if math.isfinite(h) else " " for h in heights
    )


def _exponent(text: str) -> str:
    return re.sub(r"e([+-])0*(\d+)$", lambda m: "e" + m[1].strip("+") + m[2], text)
