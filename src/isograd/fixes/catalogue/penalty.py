"""Weaken the term of the loss that outweighs the rest."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from isograd.fixes.expressions import step_value
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.once import once
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError
from isograd.fixes.rewind import Rewind
from isograd.fixes.setup import Setup
from isograd.monitor.terms import NoSuchTermError, Scalars, loss_terms
from isograd.records import Finding
from isograd.records.fix import Fix

_TERMS = 3


@register
class Penalty(Kind):
    """One additive term of the loss times a small factor."""

    name = "penalty"
    cures = frozenset(("G307", "regularization", "weight-decay"))
    part = "step"
    redefines = True
    reference = "Krogh and Hertz (1991); Bowman et al. (2016)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Terms whose absence made the replay learn; all if none was replayed."""
        terms = 0 if case.setup.train_step is not None else _terms(case.setup)
        if terms < 2:
            return
        replays = case.training.replays if case.training is not None else ()
        known = [r for r in replays if r.change == "penalty"]
        known.sort(key=lambda r: r.end())
        indices = [int(r.factor) for r in known[:2] if r.factor < terms] or list(
            range(min(terms, _TERMS))
        )
        for index in indices:
            for factor in (0.0, 1e-3):
                yield Proposal(
                    f"term {index + 1} of the loss times {factor:g}",
                    {"index": index, "factor": factor},
                    snippet=f"loss = rest + {factor:g} * term\n",
                    undo="Put the weight back.",
                    weight=0.6 if factor else 0.7,
                )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Scale the term in the step."""
        step, index, factor = setup.step, parameters["index"], parameters["factor"]

        def weakened(model: nn.Module) -> Tensor:
            with torch.enable_grad(), Scalars() as scalars:
                loss = step(model)
                groups = loss_terms(loss, model, scalars.seen)
            if len(groups) < 2 or index >= len(groups):
                raise NoSuchTermError("the loss is no sum of terms")
            scaled = [
                t.float() * (factor if i == index else 1.0)
                for i, group in enumerate(groups)
                for t in group
                if factor or i != index
            ]
            return torch.stack(scaled).sum()

        setup.step = weakened
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The operand of the sum that the step returns."""
        file, value = step_value(source)
        if not isinstance(value, ast.BinOp) or not isinstance(value.op, ast.Add | ast.Sub):
            raise NotInSourceError("the step does not return a sum")
        weighed = [
            side
            for side in (value.right, value.left)
            if isinstance(side, ast.BinOp) and isinstance(side.op, ast.Mult)
        ]
        if not weighed:
            raise NotInSourceError("no term of the sum has a weight")
        term, factor = weighed[0], fix.parameters["factor"]
        if not factor and term is value.right:
            file.edit(file.span(value.left)[1], file.span(term)[1], "")
            return
        weight = term.left
        if isinstance(weight, ast.Constant) and isinstance(weight.value, int | float):
            file.replace(weight, f"{factor * weight.value:g}")
        else:
            file.replace(term, f"{factor:g} * {file.code(term)}")


@once
def _terms(setup: Setup) -> int:
    """Number of additive terms of the loss; 0 if it cannot be taken apart."""
    rewind = Rewind(setup.step)
    try:
        model = setup.copied().model
        with torch.enable_grad(), Scalars() as scalars:
            return len(loss_terms(setup.step(model), model, scalars.seen))
    except Exception:  # no copy, or no graph: nothing to propose
        return 0
    finally:
        rewind.restore()
