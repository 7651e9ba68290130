"""`cross_entropy` for logits, where `nll_loss` wants logarithms of probabilities."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import torch.nn.functional as F

from isograd.fixes.calls import Replaced, around
from isograd.fixes.expressions import call_of
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches import modules
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_INSTEAD = {
    "nll_loss": "cross_entropy",
    "binary_cross_entropy": "binary_cross_entropy_with_logits",
}
_CLASSES = {
    "nll_loss": ("NLLLoss", "CrossEntropyLoss"),
    "binary_cross_entropy": ("BCELoss", "BCEWithLogitsLoss"),
}


@register
class CrossEntropy(Kind):
    """The loss that takes logits."""

    name = "logits-loss"
    cures = frozenset(("G401", "loss-head"))
    part = "step"
    redefines = True
    reference = "Bishop (1995), chapter 6"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where numbers that are no log-probabilities reach such a loss."""
        for call in case.snapshot.losses:
            if call.name == "nll_loss" and call.upstream != "log_softmax":
                yield self._proposal(call.name, call.source)
            elif call.name == "binary_cross_entropy" and not (
                0 <= call.prediction.low and call.prediction.high <= 1
            ):
                yield self._proposal(call.name, call.source)

    def _proposal(self, name: str, line: str | None) -> Proposal:
        new = _INSTEAD[name]
        return Proposal(
            f"{new} instead of {name}",
            {"call": name, "line": line},
            snippet=f"loss = F.{new}(logits, targets)\n",
            undo=f"Put {name} back.",
            weight=0.5,
        )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Call the other loss."""
        new = getattr(F, _INSTEAD[parameters["call"]])

        def instead(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return new(*args, **kwargs)

        return around(setup, lambda: Replaced([parameters["call"]], [parameters["line"]], instead))

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The name of the function."""
        p = fix.parameters
        if not source.calls_at(p["line"], (p["call"],)):  # a module: `criterion(output, target)`
            old, new = _CLASSES[p["call"]]
            built = source.calls((old,))
            if len(built) != 1:
                raise NotInSourceError(f"{old} is not built once in your source")
            file, func = source.file_of(built[0]), built[0].func
            file.replace(func, modules.class_name(source, file, func, new))
            return
        file, call = call_of(source, p["line"], (p["call"],))
        new = _INSTEAD[p["call"]]
        if isinstance(call.func, ast.Attribute):
            file.replace(call.func, f"{file.code(call.func.value)}.{new}")
        else:
            file.replace(call.func, f"{source.alias('torch.nn.functional', file)}.{new}")
