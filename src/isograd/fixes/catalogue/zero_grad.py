"""Clear gradients at the start of each iteration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.optimizer import loop, loop_names
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import called
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix


@register
class ZeroGrad(Kind):
    """`zero_grad()` first, and nowhere else."""

    name = "zero-grad"
    cures = frozenset(("G305", "accumulation", "G602", "optimizer-state", "G302"))
    part = "step"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where the loop is the user's own."""
        if case.setup.train_step is not None:
            yield Proposal(
                "clear gradients at the start of each iteration",
                snippet="optimizer.zero_grad()  # before backward()\n",
                undo="Remove the line.",
                weight=0.3,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Clear before the user's iteration, and let its own clearing do nothing."""
        train_step = setup.train_step
        if train_step is None:
            return setup

        def whole(model: nn.Module, optimizer: torch.optim.Optimizer) -> Any:
            optimizer.zero_grad()
            model.zero_grad()
            vars(optimizer)["zero_grad"] = lambda *_, **__: None
            try:
                return train_step(model, optimizer)
            finally:
                del vars(optimizer)["zero_grad"]

        setup.train_step = whole
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The first line of the loop; other calls go."""
        file, function = loop(source)
        _, optimizer = loop_names(source)
        for call in source.calls(("zero_grad",), function):
            statement = file.statement(call)
            if called(call) == "zero_grad":
                file.replace(statement, "pass")
        first = function.body[0]
        skip = first if _is_docstring(first) and len(function.body) > 1 else None
        file.insert(
            None if skip else first,
            skip,
            f"{optimizer}.zero_grad()\n",
        )


def _is_docstring(statement: Any) -> bool:
    import ast

    constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    nonlocal_ = isinstance(statement, ast.Nonlocal | ast.Global)
    return constant or nonlocal_
