"""Dropout at a rate that leaves a signal."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from torch import nn

from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
_STRONG = 0.5


@register
class Dropout(Kind):
    """`p` of strong dropout layers, lower."""

    name = "dropout"
    cures = frozenset(("G310", "regularization", "noise"))
    reference = "Srivastava et al. (2014)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """0.1 and 0.5, where there is stronger dropout."""
        strong = [m.p for m in case.setup.model.modules() if isinstance(m, _DROPOUT)]
        for p in (0.1, 0.5):
            if any(now > max(_STRONG, p) for now in strong):
                yield Proposal(f"dropout {p}", {"p": p}, snippet=_lines(p), undo="Put p back.")

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Set the layers that drop more than a half."""
        for module in setup.model.modules():
            if isinstance(module, _DROPOUT) and module.p > _STRONG:
                module.p = parameters["p"]
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The argument of the constructors."""
        calls = source.calls(kind.__name__ for kind in _DROPOUT)
        done = 0
        for call in calls:
            first = call.args[0] if call.args else None
            small = isinstance(first, ast.Constant) and float(first.value) <= _STRONG  # type: ignore[arg-type]
            if first is not None and not small:
                source.file_of(call).set_argument(call, "p", str(fix.parameters["p"]), 0)
                done += 1
        if not done:
            raise NotInSourceError("no strong dropout is built in your source")


def _lines(p: float) -> str:
    return (
        f"for layer in model.modules():\n"
        f'    if "Dropout" in type(layer).__name__ and layer.p > {_STRONG:g}:\n'
        f"        layer.p = {p:g}\n"
    )
