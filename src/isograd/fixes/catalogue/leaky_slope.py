"""A slope on the negative side, so that no unit is shut for good."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isograd.fixes import places
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.layers import activation_name, hidden_activations
from isograd.fixes.patches.source import Source
from isograd.fixes.places import New
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_SLOPES = (0.1, 0.3)


@register
class LeakySlope(Kind):
    """LeakyReLU of a larger slope where ReLU or LeakyReLU is; the weights stay.

    With slope a the mean square derivative is (1 + a^2) / 2 instead of 1/2.
    """

    name = "leaky-slope"
    cures = frozenset(("dead-units", "G103"))
    special = True
    reference = "Maas et al. (2013); He et al. (2015)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Two slopes."""
        ops = [
            op
            for op in hidden_activations(case.snapshot)
            if activation_name(op) in ("relu", "leaky_relu")
        ]
        if not ops:
            return
        where = places.found(case.setup.model, ops)
        for slope in _SLOPES:
            new = _leaky(slope)
            yield Proposal(
                f"LeakyReLU with slope {slope:g}",
                {**where, "slope": slope},
                snippet=places.lines(where, new),
                undo="Put ReLU back.",
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Replace modules and calls."""
        places.changed(setup.model, parameters, _leaky(parameters["slope"]))
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """Constructors and calls."""
        places.edited(source, fix.parameters, _leaky(fix.parameters["slope"]))


def _leaky(slope: float) -> New:
    return New("LeakyReLU", "leaky_relu", {"negative_slope": slope})
