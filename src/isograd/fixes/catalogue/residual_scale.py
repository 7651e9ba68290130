"""Residual branches that start small."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.layers import WEIGHTED
from isograd.fixes.patches.source import Source
from isograd.fixes.setup import Setup
from isograd.records import Finding, Snapshot
from isograd.records.fix import Fix

_ADDS = ("add", "__add__", "add_", "__iadd__", "iadd")


@register
class ResidualScale(Kind):
    """The last layer of every residual branch times 1/sqrt(2 L), or 0."""

    name = "residual-scale"
    cures = frozenset(("residual-scale", "G102", "G112"))
    reference = "Zhang et al. (2019, Fixup); De and Smith (2020); Radford et al. (2019)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """For branches found in the graph."""
        layers = last_of_branches(case.snapshot, case.setup.model)
        if len(layers) < 2:
            return
        for factor, words in (
            (1 / math.sqrt(2 * len(layers)), f"1/sqrt(2 x {len(layers)})"),
            (0.0, "0"),
        ):
            factor = float(f"{factor:.3g}")
            yield Proposal(
                f"last layers of {len(layers)} residual branches times {words}",
                {"factor": factor, "layers": layers},
                None,
                _lines("model", "torch", layers, factor),
                "Remove the loop.",
                0.8,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Scale them."""
        with torch.no_grad():
            for path in parameters["layers"]:
                layer = setup.model.get_submodule(path)
                layer.weight *= parameters["factor"]  # type: ignore[operator]
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """A loop before the return."""
        p = fix.parameters
        source.before_return(
            _lines(source.name("model"), source.alias("torch"), p["layers"], p["factor"])
        )


def last_of_branches(snapshot: Snapshot, model: nn.Module) -> list[str]:
    """Paths of the layers whose output is added to the residual stream."""
    modules = dict(model.named_modules())
    found: list[str] = []
    sums = [op for op in snapshot.ops if op.kind == "residual"]
    # The sum with the net's own input is one too: the input is no op, so it has one source.
    sums += [op for op in snapshot.ops if sums and op.name in _ADDS and len(op.sources) == 1]
    for op in sorted(sums, key=lambda op: op.index):
        branches = sorted(op.sources)[1:] or op.sources  # the stream is the older of the two
        for start in branches:
            at = start
            for _ in range(4):  # a norm or a scale may stand between
                candidate = snapshot.ops[at]
                if candidate.kind == "weight":
                    layer = modules.get(candidate.module)
                    if isinstance(layer, WEIGHTED):
                        found.append(candidate.module)
                    break
                if len(candidate.sources) != 1 or candidate.kind == "residual":
                    break
                at = candidate.sources[0]
    return list(dict.fromkeys(found))


def _lines(model: str, torch_name: str, layers: list[str], factor: float) -> str:
    return (
        f"with {torch_name}.no_grad():  # residual branches start small\n"
        f"    for name in {tuple(layers)!r}:\n"
        f"        {model}.get_submodule(name).weight *= {factor:g}\n"
    )
