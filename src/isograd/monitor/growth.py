"""Gains along the chain that grow during training, before they pass 1 and the net explodes.

A measurement gives the gains; between two of them the norms of the weights tell how the product
has moved since, because each weight's gain is proportional to its scale. Nets that learn make
their weights grow too, but ever more slowly; and behind a normalization the scale of a weight
moves no gain. So it is told only if the weights' growth does not slow down and the measured gains
grow with it.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import pairwise

from isograd.records.snapshot import Snapshot
from isograd.rules.case import Case

# Decades that the weights must have put into the product.
_GROWN = 1.0
# Share of that growth that must lie in the later half of the steps; a steady growth has 0.5, one
# with the square root of time 0.29.
_STEADY = 0.4
# Share of the weights' growth that the measured gains must show.
_SHOWN = 0.5
# The product counts as exploding at a decade above 1, if the pace holds for half as long again.
_EXPLODES = 1.0
_POINTS = 256


class Growth:
    """Follows the product of gains between the first and the last hidden layer.

    Attributes:
        names: Weights whose norms it wants to see.
    """

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self._points: deque[tuple[int, float]] = deque(maxlen=_POINTS)
        self._start: tuple[int, float] | None = None
        self._measured = (0.0, 0.0)
        self._shown = False
        self._scales: dict[str, float] = {}
        self._sum = 0.0
        self._factors = 1
        self._noise = 0.0

    def saw_snapshot(self, step: int, snapshot: Snapshot) -> None:
        """A whole step was measured."""
        hidden = Case(snapshot).hidden
        if hidden is None or hidden.layers < 3 or not math.isfinite(hidden.decades):
            return
        crossed = {f"{link.module}.weight" for link in hidden.links}
        norms = {n: s.weight_norm for n, s in snapshot.parameters.items() if n in crossed}
        self.names = tuple(norms)
        self.saw_weights(step, norms)
        if self._start is None:
            self._start = step, hidden.decades
        grown = hidden.decades - self._start[1]
        self._shown = grown > max(_SHOWN * self._sum, 3 * hidden.noise) and self._sum > 0
        self._measured = hidden.decades, self._sum
        self._factors, self._noise = hidden.layers - 1, hidden.noise

    def saw_weights(self, step: int, norms: dict[str, float]) -> None:
        """Norms of the weights at a later step."""
        for name in self.names:
            now, then = norms.get(name, 0.0), self._scales.get(name, 0.0)
            if 0 < now < math.inf:
                self._scales[name] = now
                if then > 0:
                    self._sum += math.log10(now / then)
        if self.names and (not self._points or step > self._points[-1][0]):
            self._points.append((step, self._sum))

    def warning(self, falls: bool) -> tuple[str, dict[str, float]] | None:
        """What to say if the product grows towards an explosion.

        Args:
            falls: True if the loss falls, so that gains below 1 that grow are welcome.

        Returns:
            A sentence and its numbers; None if it does not.
        """
        if self._start is None or len(self._points) < 4 or not self._shown:
            return None
        begin, (step, grown) = self._points[0], self._points[-1]
        late = grown - self._at((begin[0] + step) / 2)
        decades = self._measured[0] + grown - self._measured[1]
        pace = late / max((step - begin[0]) / 2, 1)
        if grown - begin[1] < max(_GROWN, 3 * self._noise) or late < _STEADY * (grown - begin[1]):
            return None
        if decades + pace * (step - begin[0]) / 2 < _EXPLODES or (falls and decades <= 0):
            return None
        then, today = (10 ** (d / self._factors) for d in (self._start[1], decades))
        when = f"at this pace it passes 1 near step {step + math.ceil(-decades / pace)}"
        text = (
            f"the gain per layer has grown from {then:.3g} at step {self._start[0]} to "
            f"{today:.3g}, steadily, with the weights; "
            f"{'it is above 1' if decades > 0 else when}: the net is about to explode"
        )
        return text, {"decades": decades, "decades_per_step": pace, "gain_per_layer": today}

    def _at(self, step: float) -> float:
        """The weights' growth at a step between two that were seen."""
        for (a, before), (b, after) in pairwise(self._points):
            if a <= step <= b:
                return before + (after - before) * (step - a) / (b - a)
        return self._points[-1][1]
