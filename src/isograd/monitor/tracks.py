"""Series of a training in bounded memory: what is old is kept more coarsely."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import Any

from torch import Tensor

# Whole records kept of each parameter, and single numbers of each step.
RECORDS = 1024
STEPS = 1 << 17
# Losses on a device are fetched together.
_PENDING = 64

Track = tuple["array[float]", "array[float]", "array[float]", "array[float]", "array[float]"]


class Tracks:
    """What a recorder has seen.

    Attributes:
        rates: Learning rate of each step; thinned like the losses.
        inputs: Size of the inputs of each step.
        targets: The same of the targets.
        backwards: Backward passes before each whole record.
        clip_ratios: Norm that the optimizer saw / norm after the backward pass, the same.
        stale: Norm left over / norm that the step before saw, the same.
        secants: Rate times curvature, the same.
    """

    def __init__(self) -> None:
        self.rates = array("d")
        self.inputs = array("d")
        self.targets = array("d")
        self.backwards: list[int] = []
        self.clip_ratios: list[float] = []
        self.stale: list[float] = []
        self.secants: list[float] = []
        self._losses = array("d")
        self._waiting: list[tuple[int, Tensor]] = []
        self._tracks: dict[str, Track] = {}

    def begin(self, loss: Tensor | float | None, rate: float) -> None:
        """A step begins; everything of the last one is there."""
        if len(self._losses) >= STEPS:
            self._fetch()
            if self.inputs:
                self.flow(self.inputs[-1], self.targets[-1])
            for series in (self._losses, self.rates, self.inputs, self.targets):
                _thin(series)
        self._losses.append(math.nan)
        self._set(len(self._losses) - 1, loss)
        self.rates.append(rate)

    def many(self, losses: Sequence[Tensor | float | None], rates: Sequence[float]) -> None:
        """Steps of which nothing else is known."""
        numbers = all(loss.__class__ is float for loss in losses)
        if not numbers or len(self._losses) + len(losses) >= STEPS:
            for loss, rate in zip(losses, rates, strict=True):
                self.begin(loss, rate)
            return
        self._losses.extend(losses)  # type: ignore[arg-type]
        self.rates.extend(rates)

    def begin_record(self) -> None:
        """The step in hand is recorded whole; make room for it."""
        for track in self._tracks.values():
            if len(track[0]) >= RECORDS:
                for series in track:
                    _thin(series)
        for many in (self.backwards, self.clip_ratios, self.stale, self.secants):
            if len(many) >= RECORDS:
                _thin(many)

    def late_loss(self, loss: Tensor | float) -> None:
        """The loss of a step that has begun, if it was not known before."""
        if self._losses and math.isnan(self._losses[-1]):
            self._set(len(self._losses) - 1, loss)

    def flow(self, inputs: float, targets: float) -> None:
        """Size of inputs and targets of the step in hand; where none was told, the last holds."""
        for series, value in ((self.inputs, inputs), (self.targets, targets)):
            last = series[-1] if series else value
            series.extend([last] * (len(self._losses) - 1 - len(series)))
            series.append(value)

    def before(self, name: str, gradient: float, weight: float, radial: float) -> None:
        """A parameter before its update."""
        if name not in self._tracks:
            self._tracks[name] = (array("d"), array("d"), array("d"), array("d"), array("d"))
        track = self._tracks[name]
        if len(track[0]) > len(track[1]):  # that step was broken off
            for at in (0, 2, 4):
                track[at].pop()
        track[0].append(gradient)
        track[2].append(weight)
        track[4].append(radial)

    def after(self, name: str, update: float, landed: float | None) -> None:
        """The same parameter after it; `landed` is the share of entries that changed."""
        track = self._tracks[name]
        track[1].append(update)
        if landed is not None:
            track[3].append(landed)

    def clipped(self, ratio: float) -> None:
        """Norm that the optimizer saw / norm after the backward pass, of the step in hand."""
        self.clip_ratios.append(ratio)

    def losses(self) -> tuple[float, ...]:
        """Loss of each step."""
        self._fetch()
        return tuple(self._losses)

    def track(self, name: str) -> tuple[tuple[float, ...], ...]:
        """Gradient, update, weight, share landed and radial cosine of one parameter."""
        return tuple(map(tuple, self._tracks.get(name, ((),) * 5)))

    def latest(self, name: str) -> tuple[float, float, float]:
        """Gradient, update and weight norm of the newest record; NaN where there is none."""
        track = self._tracks.get(name)
        if track is None or not track[1]:
            return (math.nan, math.nan, math.nan)
        update = track[1][-1] if len(track[1]) == len(track[0]) else math.nan
        return track[0][-1], update, track[2][-1]

    def _set(self, at: int, loss: Tensor | float | None) -> None:
        if isinstance(loss, Tensor):
            if loss.device.type != "cpu":  # reading it now would make the host wait
                self._waiting.append((at, loss))
                if len(self._waiting) >= _PENDING:
                    self._fetch()
                return
            loss = float(loss)
        self._losses[at] = math.nan if loss is None else loss

    def _fetch(self) -> None:
        waiting, self._waiting = self._waiting, []
        for at, loss in waiting:
            self._losses[at] = float(loss)


def _thin(series: Any) -> None:
    """Drop every other entry behind the first quarter."""
    keep = len(series) // 4
    series[keep:] = series[keep::2]
