"""The recent past of one number, as a yardstick for its next value."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from statistics import median

WINDOW = 64
# Values before anything can be judged.
SETTLED = 24
# A median distance of a normal sample times this is its standard deviation.
_NORMAL = 1.4826


class Past:
    """A window of values.

    A value that stays where it jumped to becomes the past, so that a new schedule is judged
    once and not for ever.

    Attributes:
        high: Largest value of the window; infinite while the past is short.
    """

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=WINDOW)
        self.high = math.inf

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: float) -> None:
        """One more value; NaN and infinity are left out."""
        if not math.isfinite(value):
            return
        values = self._values
        lost = values[0] if len(values) == WINDOW else -math.inf
        values.append(value)
        if len(values) < SETTLED:
            return
        if value >= self.high:
            self.high = value if self.high < math.inf else max(values)
        elif lost >= self.high or self.high == math.inf:
            self.high = max(values)

    def extend(self, values: Iterable[float]) -> None:
        """More values at once."""
        self._values.extend(v for v in values if math.isfinite(v))
        if len(self._values) >= SETTLED:
            self.high = max(self._values)

    @property
    def middle(self) -> float:
        """Median."""
        return median(self._values)

    def above(self, value: float) -> tuple[float, float]:
        """How far a value lies above the past.

        Returns:
            In robust standard deviations (median distance), and in widths of the window's range;
            both 0.0 while the past is short or the value does not leave it.
        """
        high = self.high
        if not value > high:
            return 0.0, 0.0
        low = min(self._values)
        middle = self.middle
        spread = _NORMAL * median(abs(v - middle) for v in self._values)
        tiny = 1e-9 * max(abs(high), abs(low), 1e-300)
        return (value - middle) / max(spread, tiny), (value - high) / max(high - low, tiny)

    def rise(self) -> tuple[float, float]:
        """A straight line through the window.

        Returns:
            How far it rises over the window, and the standard deviation around it; 0.0 and
            infinity while the window is not full.
        """
        count = len(self._values)
        if count < WINDOW:
            return 0.0, math.inf
        center = (count - 1) / 2
        mean = sum(self._values) / count
        square = sum((i - center) ** 2 for i in range(count))
        slope = sum((i - center) * (v - mean) for i, v in enumerate(self._values)) / square
        off = sum((v - mean - slope * (i - center)) ** 2 for i, v in enumerate(self._values))
        return slope * (count - 1), math.sqrt(off / count)

    def halves(self) -> tuple[float, float]:
        """Median of the older and of the newer half."""
        values = list(self._values)
        cut = len(values) // 2
        return median(values[:cut]), median(values[cut:])
