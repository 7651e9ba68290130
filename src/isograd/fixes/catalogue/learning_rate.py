"""Another learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.rates import scaled
from isograd.fixes.patches.source import Source
from isograd.fixes.setup import Setup
from isograd.fixes.stepping import before_step
from isograd.records import Finding, Training
from isograd.records.fix import Fix

# Rates are tried in steps of about half a decade around what the finding suggests.
_FACTORS = (0.1, 0.01, 0.3, 0.001, 3.0, 10.0, 100.0)
_AROUND = (0.1, 0.3, 3.0, 10.0)
# Update ratios at which nets train (Bengio, 2012).
_RATIOS = (1e-3, 1e-2)
# Of the largest stable rate: sharpness still rises at the start (Cohen et al., 2021).
_OF_STABLE = 0.5


@register
class LearningRate(Kind):
    """All rates times one factor."""

    name = "learning-rate"
    cures = frozenset(("learning-rate", "noise", "G301", "G303", "G306", "G308", "G701", "G703"))
    part = "optimizer"
    reference = "Bengio (2012); LeCun et al. (1998); Cohen et al. (2021, 2022)"
    partner = True

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Factors down and up; those that the replays found good first."""
        optimizer = case.setup.optimizer
        if optimizer is None:
            return
        direct = case.finding.code in self.cures or case.finding.cause in self.cures
        factors = list(_FACTORS if direct else _AROUND)
        reached: dict[float, float] = {}
        training = case.training
        if training is not None and direct:
            best = [r for r in training.replays if r.change == "rate"]
            best.sort(key=lambda r: r.end())
            factors = [r.factor for r in best[:2]] + _stable(training) + factors
            ratio = training.update_ratio()
            if 0 < ratio < 1e-5:
                factors += [wanted / ratio for wanted in _RATIOS]
                reached = {float(f"{w / ratio:.1g}"): w for w in _RATIOS}
        for factor in dict.fromkeys(float(f"{f:.1g}") for f in factors):
            why = f"{factor:g} times"
            if factor in reached:
                why += f": steps of {reached[factor]:g} of the weights"
            yield self.by_factor(optimizer, factor, why, training)

    def by_factor(
        self, optimizer: Any, factor: float, why: str, training: Training | None = None
    ) -> Proposal:
        """All rates times a factor.

        Args:
            optimizer: With the rates.
            factor: What they are multiplied by.
            why: Said behind the new rate.
            training: Where the loop itself sets a rate, it is found there.
        """
        new = [float(f"{group['lr'] * factor:.3g}") for group in optimizer.param_groups]
        shown = ", ".join(f"{rate:g}" for rate in dict.fromkeys(new))
        title = f"learning rate {shown} ({why})"
        used = set(training.learning_rate) if training is not None else set()
        if len(used) == 1 and not any(_same(used, g["lr"]) for g in optimizer.param_groups):
            rate = used.pop()
            title = f"the loop's learning rate at {rate * factor:.3g} instead of {rate:g} ({why})"
        return Proposal(
            title,
            {"factor": factor, "rates": new},
            snippet=f'for group in optimizer.param_groups:\n    group["lr"] *= {factor:g}\n',
            undo="Put the rate back.",
            # Of rates that do as well the one nearest to the user's, furthest from instability.
            weight=0.5 + 0.01 * abs(math.log10(factor)),
        )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Set the rates; a schedule's own too."""
        factor = parameters["factor"]
        if setup.optimizer is None:
            raise ValueError("there is no optimizer")
        for group in setup.optimizer.param_groups:
            group["lr"] = group["lr"] * factor
            if "initial_lr" in group:
                group["initial_lr"] = group["initial_lr"] * factor
        if setup.train_step is not None:
            _follow(setup, factor)
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """Where the source gives a rate."""
        scaled(source, fix.parameters["factor"], fix.parameters["rates"][0])


def _stable(training: Training) -> list[float]:
    """Half of the rate up to which the measured sharpness is stable, where the user's is above."""
    sharp = training.sharpness
    if sharp is None or not sharp.product > sharp.limit:
        return []
    return [_OF_STABLE * sharp.stable_rate / sharp.rate]


def _same(used: set[float], rate: float) -> bool:
    return all(abs(one - rate) <= 1e-3 * abs(rate) for one in used)


def _follow(setup: Setup, factor: float) -> None:
    """A loop that sets the rate itself gets the factor too: each new rate is multiplied."""
    assert setup.optimizer is not None
    name = "_isograd_rates"
    setattr(setup.optimizer, name, [group["lr"] for group in setup.optimizer.param_groups])

    def multiply(optimizer: Any) -> None:
        ours = getattr(optimizer, name)
        for i, group in enumerate(optimizer.param_groups[: len(ours)]):
            if group["lr"] != ours[i]:
                group["lr"] = ours[i] = group["lr"] * factor

    before_step(setup.optimizer, multiply)
