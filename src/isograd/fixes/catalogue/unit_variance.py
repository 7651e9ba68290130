"""Scale each layer by what one batch shows (LSUV)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.layers import WEIGHTED, as_source, layer_classes
from isograd.fixes.patches.source import Source
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_ROUNDS = 2


@register
class UnitVariance(Kind):
    """Each layer's output gets unit variance on one batch, first layer first."""

    name = "unit-variance"
    cures = frozenset(("weight-scale", "G112", "G101", "G102", "rank-collapse"))
    reference = "Mishkin and Matas (2016)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where a gain is off."""
        weights = [m for m in case.setup.model.modules() if isinstance(m, WEIGHTED)]
        if len(weights) > 1:
            yield Proposal(
                "unit variance of each layer's output, measured on one batch",
                snippet=_lines("model", "step", "nn", "torch", layer_classes(case.setup.model)),
                undo="Remove the loop.",
                weight=1.2,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Run the step once for each layer."""
        for layer in [m for m in setup.model.modules() if isinstance(m, WEIGHTED)]:
            for _ in range(_ROUNDS):
                _scaled(layer, setup)
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """A loop before the return."""
        source.before_return(
            _lines(
                source.name("model"),
                source.name("step"),
                source.nn(),
                source.alias("torch"),
                source.sites.layers,
            )
        )


def _scaled(layer: nn.Module, setup: Setup) -> None:
    seen: list[float] = []

    def hook(_: Any, __: Any, output: Tensor) -> None:
        seen.append(float(output.detach().float().std()))

    handle = layer.register_forward_hook(hook)
    try:
        with torch.no_grad():
            setup.step(setup.model)
    finally:
        handle.remove()
    if seen and 0 < seen[0] < float("inf"):
        with torch.no_grad():
            layer.weight /= seen[0]  # type: ignore[operator]


def _lines(
    model: str, step: str, nn_name: str, torch_name: str, classes: Sequence[str] = ()
) -> str:
    return (
        f"with {torch_name}.no_grad():  # unit variance of each layer's output on one batch\n"
        f"    for layer in {model}.modules():\n"
        f"        if isinstance(layer, {as_source(nn_name, classes)}):\n"
        f"            std = []\n"
        f"            hook = layer.register_forward_hook(lambda m, i, o: std.append(o.std()))\n"
        f"            {step}({model})\n"
        f"            hook.remove()\n"
        f"            if std and std[0] > 0:\n"
        f"                layer.weight /= std[0]\n"
    )
