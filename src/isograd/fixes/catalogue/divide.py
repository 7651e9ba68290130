"""Divide what several backward passes have summed by their number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches import loops
from isograd.fixes.patches.source import Source
from isograd.fixes.setup import Setup
from isograd.fixes.stepping import before_step
from isograd.records import Finding
from isograd.records.fix import Fix


@register
class Divide(Kind):
    """The mean of the accumulated gradients instead of their sum."""

    name = "divide-accumulated"
    cures = frozenset(
        ("accumulation", "learning-rate", "clipping", "G301", "G303", "G304", "G306", "G308")
    )
    part = "optimizer"
    reference = "Goyal et al. (2017)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where each step of the user's loop follows the same number of backward passes."""
        passes = set(case.training.backwards) if case.training is not None else set()
        if case.setup.train_step is None or case.setup.optimizer is None or len(passes) != 1:
            return
        (number,) = passes
        if number > 1:
            yield Proposal(
                f"accumulated gradients divided by {number}",
                {"number": number},
                snippet=_lines("optimizer", number),
                undo="Remove the lines.",
                weight=0.3,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """A hook before each step of the optimizer."""
        number = parameters["number"]
        if setup.optimizer is None:
            raise ValueError("there is no optimizer")

        def divide(optimizer: torch.optim.Optimizer) -> None:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.grad.div_(number)

        before_step(setup.optimizer, divide)
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """Lines in front of `optimizer.step()`."""
        loops.before_step(source, _lines("{optimizer}", fix.parameters["number"]))


def _lines(optimizer: str, number: int) -> str:
    return (
        f"for group in {optimizer}.param_groups:\n"
        f'    for parameter in group["params"]:\n'
        f"        if parameter.grad is not None:\n"
        f"            parameter.grad /= {number}\n"
    )
