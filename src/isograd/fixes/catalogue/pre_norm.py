"""Norms on the branches of a transformer, not on its stream."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from torch import nn

from isograd.fixes.kind import Case, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError
from isograd.fixes.written import Names, Written
from isograd.records import Finding
from isograd.records.fix import Fix

_LAYERS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


@register
class PreNorm(Written):
    """`norm_first=True` in torch's transformer layers: the stream has gain 1 from end to end."""

    name = "pre-norm"
    cures = frozenset(("G111", "normalization", "residual-scale", "G101", "G102", "G301", "G303"))
    reference = "Xiong et al. (2020)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where a layer normalises the stream."""
        model = case.setup.model
        if any(isinstance(m, _LAYERS) and not m.norm_first for m in model.modules()):
            yield self.proposal(
                model, "norms in front of the branches: norm_first=True", {}, weight=0.6
            )

    def lines(self, names: Names, parameters: dict[str, Any]) -> str:
        """A loop over the layers."""
        kinds = f"({names.nn}.TransformerEncoderLayer, {names.nn}.TransformerDecoderLayer)"
        return (
            f"for layer in {names.model}.modules():\n"
            f"    if isinstance(layer, {kinds}):\n"
            f"        layer.norm_first = True\n"
        )

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The keyword of the constructors."""
        calls = source.calls([kind.__name__ for kind in _LAYERS] + ["Transformer"])
        if not calls:
            super().edit(source, fix, finding)
            return
        for call in calls:
            if any(isinstance(a, ast.Starred) for a in call.args):
                raise NotInSourceError("the arguments of the layer are not written out")
            source.file_of(call).set_argument(call, "norm_first", "True", None)
