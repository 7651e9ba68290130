"""Biases at 0."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.layers import as_source, layer_classes, weighted
from isograd.fixes.patches.source import Source
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix


@register
class Biases(Kind):
    """Biases of linear and convolution layers start at 0; the weights stay."""

    name = "biases"
    cures = frozenset(("G103", "G104", "G105", "dead-units", "activation-derivative"))
    reference = "He et al. (2015)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where a bias outweighs what the weights bring."""
        for _, layer in weighted(case.setup.model):
            bias = layer.bias
            if isinstance(bias, Tensor) and float(bias.detach().abs().max()) > 1:
                yield Proposal(
                    "biases start at 0",
                    {},
                    None,
                    _lines("model", "nn", layer_classes(case.setup.model)),
                    "Remove the loop.",
                    0.8,
                )
                return

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Set them."""
        for _, layer in weighted(setup.model):
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """A loop before the return, as biases may be set after the model is built."""
        source.before_return(_lines(source.name("model"), source.nn(), source.sites.layers))


def _lines(model: str, nn_name: str, classes: Sequence[str] = ()) -> str:
    return (
        f"for layer in {model}.modules():\n"
        f"    if isinstance(layer, {as_source(nn_name, classes)}):\n"
        f"        if layer.bias is not None:\n"
        f"            {nn_name}.init.zeros_(layer.bias)\n"
    )
