"""More examples in each step."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from torch import nn

from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_BATCHES = (4, 16)


@register
class Accumulate(Kind):
    """The mean loss of several batches: the noise of the gradient falls with the root."""

    name = "more-batches"
    cures = frozenset(("noise", "G701"))
    part = "step"
    reference = "McCandlish et al. (2018)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where the usual loop calls the step."""
        if case.setup.train_step is None and case.setup.optimizer is not None:
            for batches in _BATCHES:
                yield Proposal(
                    f"{batches} batches in each step",
                    {"batches": batches},
                    snippet=_lines("step", batches) + "step = averaged\n",
                    undo="One batch again.",
                    weight=1.0,
                )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Call the step several times."""
        step, batches = setup.step, parameters["batches"]

        def averaged(model: nn.Module) -> Any:
            return sum(step(model) for _ in range(batches)) / batches

        setup.step = averaged
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """A function around the step that the target returns."""
        value, home = source.target.parts["step"], source.home
        name = home.code(value)
        lines = ""
        if not isinstance(value, ast.Name | ast.Attribute):
            lines, name = f"one_batch = {name}\n", "one_batch"
        source.before_return(lines + _lines(name, fix.parameters["batches"]))
        home.replace(value, "averaged")


def _lines(step: str, batches: int) -> str:
    return (
        f"def averaged(model):\n"
        f"    return sum({step}(model) for _ in range({batches})) / {batches}\n\n"
    )
