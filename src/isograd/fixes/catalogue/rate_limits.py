"""Hold a schedule's rate between bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches import loops
from isograd.fixes.patches.source import Source
from isograd.fixes.setup import Setup
from isograd.fixes.stepping import before_step
from isograd.records import Finding
from isograd.records.fix import Fix

_MOVED = 3.0


@register
class RateLimits(Kind):
    """The rate that the loop sets, no larger and no smaller than given."""

    name = "rate-limits"
    cures = frozenset(("G702", "G703", "G301", "G303", "G308", "learning-rate"))
    part = "step"
    reference = "Goyal et al. (2017); Smith (2017)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where a loop moves the rate by more than a factor of three."""
        rates = case.training.learning_rate if case.training is not None else ()
        positive = [r for r in rates if r > 0]
        if case.setup.train_step is None or len(positive) < 2:
            return
        start, top, low = positive[0], max(positive), min(positive)
        if top > _MOVED * start:
            # Where the loss was lowest the rate had begun to be too high (Smith, 2017).
            losses = case.training.loss if case.training is not None else ()
            lowest = min(range(len(losses)), key=lambda i: losses[i], default=0)
            turn = rates[min(lowest, len(rates) - 1)]
            highs = (start, turn / 3, turn / 10, top / 1000, top / 100, top / 30)
            for high in dict.fromkeys(float(f"{h:.2g}") for h in highs):
                if high >= start / 2:
                    yield self._proposal(0.0, high)
        if low < start / _MOVED:
            yield self._proposal(start, 10 * top)

    def _proposal(self, low: float, high: float) -> Proposal:
        bound = f"below {high:g}" if low == 0 else f"above {low:g}"
        return Proposal(
            f"hold the learning rate {bound}",
            {"low": low, "high": high},
            snippet=_lines("optimizer", low, high),
            undo="Remove the lines.",
            weight=0.6,
        )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """A hook before each step of the optimizer."""
        low, high = parameters["low"], parameters["high"]
        if setup.optimizer is None:
            raise ValueError("there is no optimizer")

        def bound(optimizer: Any) -> None:
            for group in optimizer.param_groups:
                group["lr"] = min(max(group["lr"], low), high)

        before_step(setup.optimizer, bound)
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """Lines in front of `optimizer.step()`."""
        p = fix.parameters
        loops.before_step(source, _lines("{optimizer}", p["low"], p["high"]))


def _lines(optimizer: str, low: float, high: float) -> str:
    value = f'min(group["lr"], {high:g})' if low == 0 else f'max(group["lr"], {low:g})'
    return f'for group in {optimizer}.param_groups:\n    group["lr"] = {value}\n'
