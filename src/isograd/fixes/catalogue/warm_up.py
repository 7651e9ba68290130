"""A learning rate that begins small."""

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

_LENGTHS = (30, 100)


@register
class WarmUp(Kind):
    """The rate grows in a straight line over the first steps."""

    name = "warm-up"
    cures = frozenset(("learning-rate", "G301", "G303", "G308", "G702", "G703"))
    part = "step"
    special = True
    reference = "Goyal et al. (2017); Gotmare et al. (2019)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where no schedule sets the rate already."""
        scheduled = case.training is not None and case.training.scheduled
        if case.setup.optimizer is None or scheduled:
            return
        for steps in _LENGTHS:
            yield Proposal(
                f"warm-up of the learning rate over {steps} steps",
                {"steps": steps},
                undo="Remove the lines.",
                weight=0.8,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Before each step of the optimizer."""
        if setup.optimizer is None:
            raise ValueError("there is no optimizer")
        steps = parameters["steps"]

        def warm(optimizer: Any) -> None:
            for group in optimizer.param_groups:
                group["warm"] = group.get("warm", 0) + 1
                full = group.setdefault("full_lr", group["lr"])
                group["lr"] = full * min(1.0, group["warm"] / steps)

        before_step(setup.optimizer, warm)
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """In front of `optimizer.step()`."""
        steps = fix.parameters["steps"]
        loops.before_step(
            source,
            f"for group in {{optimizer}}.param_groups:  # warm-up over {steps} steps\n"
            f'    group["warm"] = group.get("warm", 0) + 1\n'
            f'    full = group.setdefault("full_lr", group["lr"])\n'
            f'    group["lr"] = full * min(1.0, group["warm"] / {steps})\n',
        )
