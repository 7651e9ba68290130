"""Embeddings of the size that what follows expects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from isograd.fixes.kind import Case, Proposal, register
from isograd.fixes.written import Names, Written

# Entries of unit size, as layers without a norm expect; and GPT-2's, in front of a norm.
_SIZES = (1.0, 0.02)
_OFF = 3.0


@register
class EmbeddingScale(Written):
    """Entries of embeddings drawn with a standard deviation of 1, or of 0.02."""

    name = "embedding-scale"
    cures = frozenset(("input-scale", "weight-scale", "attention-scale", "G112", "G403", "G409"))
    special = True
    reference = "Radford et al. (2019); Takase et al. (2023)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where their size is off by more than a factor of three."""
        model = case.setup.model
        now = [
            float(m.weight.detach().float().square().mean().sqrt())
            for m in model.modules()
            if isinstance(m, nn.Embedding)
        ]
        for size in _SIZES:
            if any(not size / _OFF < value < size * _OFF for value in now):
                yield self.proposal(
                    model, f"embeddings of size {size:g}", {"std": size}, weight=0.8
                )

    def lines(self, names: Names, parameters: dict[str, Any]) -> str:
        """A loop over the embeddings."""
        return (
            f"for layer in {names.model}.modules():\n"
            f"    if isinstance(layer, {names.nn}.Embedding):\n"
            f"        {names.nn}.init.normal_(layer.weight, std={parameters['std']:g})\n"
        )
