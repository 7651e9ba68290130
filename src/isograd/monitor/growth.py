"""Gains along the chain that grow during training, before they pass 1 and the net explodes.

A measurement gives the gains; between two of them the norms of the weights tell how the product
has moved since, because each weight's gain is proportional to its scale.
"""

from __future__ import annotations

import math
from collections import deque

from isograd.records.snapshot import Snapshot
from isograd.rules.case import Case

# Decades that the product must have grown by, beyond what finite width scatters.
_GROWN = 0.3
# Decades at which a net counts as exploding, if the pace holds for as long again.
_EXPLODES = 2.0
_POINTS = 32


class Growth:
    """Follows the product of gains between the first and the last hidden layer."""

    def __init__(self) -> None:
        self._points: deque[tuple[int, float]] = deque(maxlen=_POINTS)
        self._first: tuple[int, float] | None = None
        self._measured = 0.0
        self._weights: dict[str, float] = {}
        self._factors = 0
        self._noise = 0.0

    def saw_snapshot(self, step: int, snapshot: Snapshot) -> None:
        """A whole step was measured."""
        hidden = Case(snapshot).hidden
        if hidden is None or hidden.layers < 3:
            return
        crossed = {link.module for link in hidden.links}
        names = {f"{path}.weight" for path in crossed}
        self._weights = {
            name: stats.weight_norm
            for name, stats in snapshot.parameters.items()
            if name in names and stats.weight_norm > 0
        }
        self._measured, self._noise = hidden.decades, hidden.noise
        self._factors = hidden.layers - 1
        self._add(step, hidden.decades)

    def saw_weights(self, step: int, norms: dict[str, float]) -> None:
        """Norms of the weights at a later step."""
        ratios = [
            norms[name] / then
            for name, then in self._weights.items()
            if norms.get(name, 0.0) > 0 and math.isfinite(norms[name])
        ]
        if ratios:
            self._add(step, self._measured + sum(map(math.log10, ratios)))

    def warning(self, step: int) -> tuple[str, dict[str, float]] | None:
        """What to say if the product grows towards an explosion.

        Returns:
            A sentence and its numbers; None if it does not.
        """
        if self._first is None or len(self._points) < 4:
            return None
        start, begin = self._first
        now = self._points[-1][1]
        half = self._points[len(self._points) // 2]
        span = self._points[-1][0] - half[0]
        pace = (now - half[1]) / span if span else 0.0
        if pace <= 0 or now - begin < max(_GROWN, 3 * self._noise):
            return None
        later = now + pace * max(step, 1)
        if later < _EXPLODES:
            return None
        then, today = (10 ** (d / self._factors) for d in (begin, now))
        when = f"at this pace it passes 1 near step {step + math.ceil(-now / pace)}"
        text = (
            f"the gain per layer has grown from {then:.3g} at step {start} to {today:.3g}; "
            f"{'it is above 1' if now > 0 else when} and gradients will explode with depth"
        )
        return text, {"decades": now, "decades_per_step": pace, "gain_per_layer": today}

    def _add(self, step: int, decades: float) -> None:
        if math.isfinite(decades):
            self._first = self._first or (step, decades)
            self._points.append((step, decades))
