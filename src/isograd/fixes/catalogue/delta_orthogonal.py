"""Convolutions that begin as an orthogonal map of each pixel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from isograd.fixes.kind import Case, Proposal, register
from isograd.fixes.layers import SIGMA_W, usual_activation
from isograd.fixes.written import Names, Written


@register
class DeltaOrthogonal(Written):
    """An orthogonal matrix at the centre of each kernel, zeros around it."""

    name = "delta-orthogonal"
    cures = frozenset(("weight-scale", "rank-collapse", "G101", "G102", "G112"))
    special = True
    reference = "Xiao et al. (2018)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """For plain convolutions with odd kernels."""
        model = case.setup.model
        found = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
        odd = [m for m in found if m.groups == 1 and all(k % 2 for k in m.kernel_size)]
        if len(odd) > 1:
            gain = SIGMA_W.get(usual_activation(case.snapshot), 1.0)
            yield self.proposal(
                model, f"delta-orthogonal convolutions at gain {gain:.3g}", {"gain": gain}
            )

    def lines(self, names: Names, parameters: dict[str, Any]) -> str:
        """A loop over the convolutions."""
        return (
            f"with {names.torch}.no_grad():\n"
            f"    for layer in {names.model}.modules():\n"
            f"        if isinstance(layer, {names.nn}.Conv2d) and layer.groups == 1:\n"
            f"            rows, columns = layer.kernel_size[0] // 2, layer.kernel_size[1] // 2\n"
            f"            centre = layer.weight.new_empty(layer.weight.shape[:2])\n"
            f"            {names.nn}.init.orthogonal_(centre, {parameters['gain']:.4g})\n"
            f"            layer.weight.zero_()\n"
            f"            layer.weight[:, :, rows, columns] = centre\n"
            f"            if layer.bias is not None:\n"
            f"                layer.bias.zero_()\n"
        )
