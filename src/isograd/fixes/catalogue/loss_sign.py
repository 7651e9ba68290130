"""The loss with the other sign."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from isograd.fixes.expressions import step_value, wrapped
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix


@register
class LossSign(Kind):
    """`-loss`."""

    name = "loss-sign"
    cures = frozenset(("G405",))
    part = "step"
    redefines = True

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where the loop calls the step as it is."""
        if case.setup.train_step is None:
            yield Proposal(
                "the loss with the other sign",
                snippet="loss = -loss\n",
                undo="Remove the sign.",
                weight=0.3,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Negate the step."""
        step = setup.step
        setup.step = lambda model: -step(model)
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """What the step returns."""
        file, value = step_value(source)
        if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
            file.replace(value, file.code(value.operand))
        else:
            file.replace(value, "-" + wrapped(file.code(value)))
