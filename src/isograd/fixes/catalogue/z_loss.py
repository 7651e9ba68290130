"""Logits that are held near a partition function of 1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from isograd.fixes.calls import Replaced, around
from isograd.fixes.expressions import named
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_WEIGHT = 1e-4


@register
class ZLoss(Kind):
    """Cross-entropy plus 1e-4 times the mean square of log(sum of exp(logits))."""

    name = "z-loss"
    cures = frozenset(("G308", "G301", "G601", "loss-head", "precision"))
    part = "step"
    special = True
    reference = "Chowdhery et al. (2022); de Brebisson and Vincent (2016)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """For the cross-entropies of the step, where logits are large or grow."""
        calls = [c for c in case.snapshot.losses if c.name == "cross_entropy" and c.source]
        lines = sorted({str(c.source) for c in calls})
        if lines:
            yield Proposal(
                f"z-loss of weight {_WEIGHT:g}",
                {"lines": lines, "weight": _WEIGHT},
                undo="Remove the term.",
                weight=0.9,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Add the term to the result of the call."""
        weight = parameters["weight"]

        def instead(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            logits = args[0] if args else kwargs["input"]
            loss = func(*args, **kwargs)
            if not isinstance(logits, Tensor) or loss.dim():
                return loss
            return loss + weight * logits.logsumexp(min(1, logits.dim() - 1)).square().mean()

        lines = parameters["lines"]
        return around(setup, lambda: Replaced(["cross_entropy"], lines, instead))

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The call, or that of a loss module, with the term behind it."""
        for line in fix.parameters["lines"]:
            calls = source.calls_at(line, ["cross_entropy"]) or source.calls_of_two(line)
            if not calls:
                raise NotInSourceError(f"no cross-entropy at {line}")
            file, call = calls[0]
            first, again = named(file.code(call.args[0]))
            if first != again:
                file.replace(call.args[0], first)
            start, end = file.span(call)
            term = f"{fix.parameters['weight']:g} * {again}.logsumexp(1).square().mean()"
            file.edit(start, start, "(")
            file.edit(end, end, f" + {term})")
