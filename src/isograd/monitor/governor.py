"""Keeps what watching costs within a budget.

Every kind of measurement has a purse: a share of the budget that grows with the time the training
takes, and a little in advance, because a training tells most at its start. What was spent in
advance is paid back: as long as the whole account lies above the budget, purses fill at half the
pace. A measurement is due when its purse can pay what it cost lately. What cannot be timed on its
own, such as a step whose calls are written down, is charged by how much longer that step took
than a bare one; what merely being there costs at each step, a few microseconds, comes off the
budget before any purse.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

# Of what a measurement costs, how much the newest sample counts.
_NEWEST = 0.3
# A bare step this many times longer than usual was disturbed by something else.
_OUTLIER = 3.0
# Steps without asking again.
_LONGEST = 64
# How much denser measurements are when something moves.
_HELD = 1.25
# A share above this cannot be told from the clock's own errors.
_MOST = 10.0
# Seconds that a step of a nap costs; one that is seen takes that many times as much.
_NAP = 3e-6
_SEEN = 6
# Of the budget, the most that being there may take from the purses.
_THERE = 0.6
# Of the pace at which purses fill, what is left while the account lies above the budget.
_BACK = 0.5


@dataclass(slots=True)
class Purse:
    """What one kind of measurement may spend.

    Attributes:
        share: Of the budget.
        start: Seconds it may spend before the budget has grown.
        steps: The same in bare steps, for slow ones; the larger counts.
        cost: Seconds that one measurement takes, learnt.
        spent: Seconds so far.
        times: How often it was taken.
    """

    share: float
    start: float
    steps: float
    cost: float = 0.0
    spent: float = 0.0
    times: int = 0

    def learn(self, seconds: float) -> None:
        """One measurement took that long in all."""
        self.times += 1
        first = self.times == 1
        self.cost = seconds if first else self.cost + _NEWEST * (seconds - self.cost)


class Governor:
    """Decides what is measured when.

    Args:
        budget: Share of the training's time that watching may take; None measures all it can.

    Attributes:
        bare: Seconds of a step without anything of ours; NaN until one was seen.
        own: Seconds charged in this step.
        nap: Seconds that a step takes of which only the loss is noted.
        moving: True if the training changes quickly now, so that measurements may be denser.
        purses: By kind: `start`, `row`, `light`, `full`, `probe`, `tape`, `loss`, `replay`.
    """

    def __init__(self, budget: float | None) -> None:
        if budget is not None and not 0 <= budget < math.inf:
            raise ValueError(f"`budget` must be at least 0, or None; got {budget}.")
        self.budget = budget
        self.bare = math.nan
        self.steps = 0
        self.nap = _NAP
        self.moving = False
        self.purses = {
            "row": Purse(0.05, 0.001, 0.1),
            "light": Purse(0.30, 0.002, 0.5),
            "full": Purse(0.20, 0.006, 2.0),
            "probe": Purse(0.30, 0.0, 0.0),
            "tape": Purse(0.0, 0.003, 1.0),
            "loss": Purse(0.0, 0.0, 0.0),  # what noting losses took; it thins itself
            "replay": Purse(0.15, 0.010, 8.0),
        }
        self._began = math.nan
        self._last = math.nan
        self._hooks = 0.0
        self._earned = 0.0
        self.own = 0.0
        self._unpriced: list[tuple[str, float]] = []

    def due(self, kind: str) -> bool:
        """True if a measurement of this kind can be paid now."""
        if self.budget is None:
            return True
        purse = self.purses[kind]
        return purse.spent + purse.cost <= self._allowed(purse)

    def spend(self, kind: str, seconds: float) -> None:
        """Charge measured time, which may be a part of a measurement."""
        self.own += seconds
        self.purses[kind].spent += seconds

    def pause(self, seconds: float) -> None:
        """Something took that long once, which is no part of a step and of no budget."""
        self.own += seconds

    def price(self, kind: str, seconds: float) -> None:
        """Tell it what a whole measurement took; it was charged already."""
        self.purses[kind].learn(seconds)

    def stepped(self, disturbed: str = "", steps: int = 1, asleep: bool = False) -> None:
        """A step of the training has ended.

        Args:
            disturbed: The kind of measurement that ran through the whole step, if one did.
            steps: More than one if nobody looked meanwhile.
            asleep: True if only their losses were noted.
        """
        now = time.perf_counter()
        hooks = steps * self.nap * (1 if asleep else _SEEN)
        self._hooks += hooks
        if not math.isnan(self._last):
            self._earned += (0.0 if self.budget is None else self._pace()) * (now - self._last)
            took = (now - self._last - self.own - hooks) / steps
            if disturbed:
                self._unpriced.append((disturbed, took))
            else:
                usual = math.isnan(self.bare) or took < _OUTLIER * self.bare
                if math.isnan(self.bare):
                    self.bare = took if took > 0 else math.nan  # more was charged than passed
                elif usual:
                    self.bare += 0.1 * (took - self.bare)
            if not math.isnan(self.bare):
                for kind, whole in self._unpriced:
                    more = max(0.0, whole - self.bare)
                    self.purses[kind].spent += more
                    self.purses[kind].learn(more)
                self._unpriced.clear()
        else:
            self._began = now
        self.steps += steps
        self.own = 0.0
        self._last = now

    def wait(self, kinds: Sequence[str]) -> int:
        """Steps that surely pass before one of these kinds can be paid; at most 64."""
        if self.budget is None:
            return 0 if any(self.due(kind) for kind in kinds) else _LONGEST
        if math.isnan(self.bare):
            return 0
        per_step = self.budget * self.bare
        waits: list[float] = [_LONGEST]
        for kind in kinds:
            purse = self.purses[kind]
            missing = purse.spent + purse.cost - self._allowed(purse)
            waits.append(missing / max(_HELD * purse.share * per_step, 1e-12))
        return max(0, math.floor(min(waits)))

    def times(self, kind: str, steps: int) -> int:
        """How often a measurement of this kind can be paid within so many steps."""
        if self.budget is None:
            return steps if self.due(kind) else 0
        purse = self.purses[kind]
        if not purse.cost or math.isnan(self.bare):
            return 0
        room = self._allowed(purse, steps * self.bare) - purse.spent
        return max(0, min(steps, int(room / purse.cost)))

    def early(self, kind: str) -> bool:
        """True while a kind is still paid in advance."""
        purse = self.purses[kind]
        return self.budget is None or purse.spent + purse.cost <= self._start(purse)

    def steady(self, kind: str) -> bool:
        """True if a kind can be paid at every step."""
        purse = self.purses[kind]
        return self.budget is None or purse.cost <= purse.share * self._pace() * self.bare

    def affords(self, seconds: float) -> bool:
        """True if that at every step takes less than a quarter of the budget."""
        return self.budget is None or seconds < self.budget * self.bare / 4

    @property
    def spent(self) -> float:
        """Seconds of our own so far, with the calls of hooks."""
        return self._hooks + sum(purse.spent for purse in self.purses.values())

    @property
    def share(self) -> float:
        """Our own time / the training's without us; 0.0 before the second step."""
        if math.isnan(self._last) or self._last <= self._began:
            return 0.0
        # Time that was charged may be longer than what passed between the first two steps.
        if math.isnan(self.bare):
            return 0.0
        passed = self._last - self._began
        return self.spent / max(passed - self.spent, self.steps * self.bare, passed / _MOST)

    def summary(self) -> dict[str, float]:
        """Seconds spent by kind, and how often each was taken."""
        out: dict[str, float] = {"share": self.share, "bare_step": self.bare}
        for kind, purse in self.purses.items():
            out[f"{kind}_seconds"] = purse.spent
            out[f"{kind}_times"] = purse.times
        return {**out, "hooks_seconds": self._hooks}

    def _start(self, purse: Purse) -> float:
        bare = 0.0 if math.isnan(self.bare) else self.bare
        return max(purse.start, purse.steps * bare) if self.budget else 0.0

    def _allowed(self, purse: Purse, ahead: float = 0.0) -> float:
        """Seconds that a purse may have spent, so many seconds from now."""
        since = 0.0 if math.isnan(self._last) else time.perf_counter() - self._last
        earned = self._earned + self._pace() * (since + ahead)
        # A fifth of the budget is kept for moments when something moves.
        held = _HELD if self.moving else 1.0
        return self._start(purse) + held * purse.share * earned

    def _pace(self) -> float:
        """Share of the time that all purses together gain now."""
        assert self.budget is not None
        passed = self._last - self._began
        there = self._hooks + self.purses["loss"].spent
        there = there / passed if passed > 0 else 0.0
        pace = self.budget - min(there, _THERE * self.budget)
        return pace * (_BACK if self.share > self.budget else 1.0)
