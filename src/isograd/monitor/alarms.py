"""Alarms on the stream of a training, each against the training's own past.

A net is never compared with another one: a number must leave what it did in this run, by many
times what it scattered there, and by more than its whole range.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from isograd.monitor.beat import Beat
from isograd.monitor.growth import Growth
from isograd.monitor.past import SETTLED, WINDOW, Past
from isograd.records.snapshot import Snapshot

# Robust standard deviations, and ranges of the window, by which a loss or a gradient jumps:
# heavy-tailed noise of healthy trainings stays below (benchmarks/alarms.py).
SCORE = 10.0
RANGES = 2.0
# And by at least this: a quiet series scatters little. Decades, and a share of the loss.
_DECADES = 0.5
_SHARE = 0.5
# Decades over the window by which a gradient grows while the loss does not fall, and how
# straight the growth must be.
_GROWTH = 1.0
_STRAIGHT = 6.0
# A loss falls if it does so by this share between the halves of the window.
_FALLS = 0.02
# A loss below this share of its start needs no warning of growth.
_SOLVED = 0.5
# Rows between two looks at trends.
_TRENDS = 8
# How often the past is forgotten because other parameters have gradients; experts come and go.
_RENEWALS = 8
# Steps between two alarms of one kind, at least, and as a share of the steps so far.
_PAUSE = 50
_PAUSE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that a training did at one step.

    Attributes:
        step: The step, from 0.
        name: Kind: `nonfinite`, `loss-spike`, `gradient-jump`, `gradient-growth`, `gain-growth`.
        message: One sentence.
        data: The numbers behind it.
    """

    step: int
    name: str
    message: str
    data: dict[str, Any] = field(default_factory=dict[str, Any])


class Alarms:
    """Judges rows as they come.

    Args:
        names: Names of the parameters, in the order of the rows.
        told: Called with each alarm; an error in it reaches nobody.

    Attributes:
        raised: Alarms so far.
        moving: True if the latest row left its past, so that measuring more may be worth it.
    """

    def __init__(self, names: Sequence[str], told: Callable[[Alarm], None] | None = None) -> None:
        self.raised: list[Alarm] = []
        self.moving = False
        self._names = names
        self._told = told
        self._loss = Past()
        self._total = Past()
        self._beside = Past()  # losses of the steps that the gradients are of
        self._highest = -math.inf
        self._start = math.nan
        self._each: deque[np.ndarray] = deque(maxlen=WINDOW)
        self._rows = 0
        self._until: dict[str, int] = {}
        self._growth = Growth()
        self._there = b""
        self._renewals = 0

    def renewed(self, names: Sequence[str]) -> None:
        """Rows have these parameters from now on."""
        self._names = names
        self._each.clear()

    def startles(self, loss: float) -> bool:
        """True if a loss that was not judged yet lies out of its past."""
        if loss <= self._loss.high < math.inf:
            return False
        return not math.isfinite(loss) or self._loss.above(loss)[0] > SCORE / 2

    @property
    def high(self) -> float:
        """No loss below this startles."""
        return self._loss.high

    def passed(self, losses: Sequence[Any]) -> None:
        """Losses of steps that have no row, and startled nobody."""
        self._loss.extend(loss for loss in losses if isinstance(loss, float))
        self._begins()

    def saw(self, beat: Beat) -> list[Alarm]:
        """Judge one row whose numbers have been fetched.

        Returns:
            New alarms.
        """
        loss = math.nan if beat.loss is None else float(beat.loss)
        before = len(self.raised)
        if beat.refused:
            return []
        total = beat.total_raw()
        if beat.measured:
            self._compare(beat)
        if (beat.loss is not None and not math.isfinite(loss)) or total == math.inf:
            self.moving = True
            self.raise_(beat.step, "nonfinite", self._nonfinite(beat, loss))
            return self.raised[before:]
        jumped = self._loss_jumps(beat.step, loss)
        gradient = math.log10(total) if total > 0 else math.nan
        moved = self._gradient_jumps(beat, gradient)
        self.moving = jumped or moved
        self._loss.add(loss)
        self._begins()
        self._remember(beat, loss, gradient)
        if not self.moving and beat.measured and self._rows % _TRENDS == 0:
            self._gradient_grows(beat.step)
        return self.raised[before:]

    def _begins(self) -> None:
        if math.isnan(self._start) and len(self._loss) >= SETTLED:
            self._start = self._loss.middle

    def saw_snapshot(self, step: int, snapshot: Snapshot) -> None:
        """A whole step was measured."""
        self._growth.saw_snapshot(step, snapshot)

    @property
    def weights(self) -> tuple[str, ...]:
        """Weights whose norms are worth a look now and then."""
        return self._growth.names

    def saw_weights(self, step: int, norms: dict[str, float]) -> list[Alarm]:
        """Norms of weights by name, at a step where they were taken.

        Returns:
            New alarms.
        """
        self._growth.saw_weights(step, norms)
        found = self._growth.warning(self._falls())
        if found is None:
            return []
        text, data = found
        alarm = self.raise_(step, "gain-growth", text, **data)
        return [alarm] if alarm is not None else []

    def raise_(self, step: int, name: str, message: str, **data: Any) -> Alarm | None:
        """Raise an alarm, unless one of its kind was raised a moment ago."""
        quiet = self._until.get(name, -1)
        # A growth that goes on is told again when it has gone on for as long again.
        pause = max(_PAUSE, int((1.0 if name == "gain-growth" else _PAUSE_SHARE) * step))
        if name == "nonfinite" and quiet > step:  # once it is NaN it stays so
            self._until[name] = step + pause
            return None
        if step < quiet:
            return None
        self._until[name] = step + pause
        alarm = Alarm(step, name, message, data)
        self.raised.append(alarm)
        if self._told is not None:
            with contextlib.suppress(Exception):
                self._told(alarm)
        return alarm

    def _compare(self, beat: Beat) -> None:
        """Begin anew if other parameters have gradients now: their sum cannot be compared."""
        there = ~np.isnan(beat.raw)
        same = there.tobytes() == self._there
        if not same and self._renewals < _RENEWALS:
            self._renewals += 1
            self._total, self._highest, self._beside = Past(), -math.inf, Past()
            self._each.clear()
        if not same:
            self._there = there.tobytes()

    def _loss_jumps(self, step: int, loss: float) -> bool:
        score, ranges = self._loss.above(loss)
        if score > SCORE and ranges > RANGES and loss - self._loss.middle > self._size():
            text = f"the loss jumps to {loss:.4g}; its recent median is {self._loss.middle:.4g}"
            self.raise_(step, "loss-spike", text, score=score, loss=loss)
        return score > SCORE / 2

    def _size(self) -> float:
        return _SHARE * abs(self._loss.middle)

    def _gradient_jumps(self, beat: Beat, value: float) -> bool:
        score, ranges = self._total.above(value)
        above = value - self._total.middle if score else 0.0
        # What shrinks while a net converges may jump and stay below what it was.
        record, self._highest = value > self._highest, max(value, self._highest)
        if record and score > SCORE and ranges > RANGES / 2 and above > _DECADES:
            name, times = self._who(beat)
            text = (
                f"the gradient jumps to {10**above:.3g} times its recent median, "
                f"most in `{name}` ({times:.3g} times)"
            )
            self.raise_(beat.step, "gradient-jump", text, score=score, parameter=name)
        return score > SCORE / 2

    def _gradient_grows(self, step: int) -> None:
        rise, off = self._total.rise()
        if rise < _GROWTH or off > rise / _STRAIGHT or len(self._beside) < len(self._total):
            return
        if self._falls():
            return
        text = (
            f"the gradient has grown {10**rise:.3g} times over the last {len(self._total)} "
            "measurements and the loss does not fall"
        )
        self.raise_(step, "gradient-growth", text, decades=rise)

    def _falls(self) -> bool:
        """True if the loss falls over the window, or has fallen to little: then all is well."""
        past = self._beside if len(self._beside) >= SETTLED else self._loss
        if len(past) < SETTLED:
            return True
        older, newer = past.halves()
        if newer < _SOLVED * self._start:
            return True
        return newer < older - _FALLS * abs(older)

    def _remember(self, beat: Beat, loss: float, gradient: float) -> None:
        if not beat.measured:
            return
        self._total.add(gradient)
        self._beside.add(loss)
        self._rows += 1
        self._each.append(beat.raw)

    def _who(self, beat: Beat) -> tuple[str, float]:
        """The parameter whose gradient left its own past farthest, and how many times."""
        with np.errstate(divide="ignore", invalid="ignore"):
            before = np.nanmedian(np.stack(self._each), axis=0) if self._each else beat.raw
            times = np.where(before > 0, beat.raw / before, 0.0)
        best = int(np.nanargmax(np.append(times, 0.0)))
        return self._names[min(best, len(self._names) - 1)], float(np.append(times, 0.0)[best])

    def _nonfinite(self, beat: Beat, loss: float) -> str:
        if beat.loss is not None and not math.isfinite(loss):
            return f"the loss is {loss}"
        names = [n for n, v in zip(self._names, beat.raw, strict=True) if v == math.inf]
        where = f" of `{names[0]}`" if names else ""
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"the gradient{where}{more} is not finite"
