"""Weights and biases on the edge of chaos of the activation that is there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isograd.fixes.kind import Case, Proposal, register
from isograd.fixes.layers import usual_activation, weighted
from isograd.fixes.prediction import product
from isograd.fixes.written import Names, Written
from isograd.theory.edge import edge_of_chaos

# The depth scale grows as sigma_b falls (Schoenholz et al., 2017); this one suits a hundred layers.
_SIGMA_B = 0.05
# sigmoid(x) = 1/2 + tanh(x / 2) / 2: with the 1/2 taken off by the bias of the next layer the
# slope at 0 is 1/4, and the edge lies at sigma_w = 4.
_SIGMOID = 4.0


@register
class EdgeOfChaos(Written):
    """sigma_w and sigma_b at which the gradient keeps its norm, at a variance that is stable."""

    name = "edge-of-chaos"
    cures = frozenset(("weight-scale", "activation-derivative", "rank-collapse", "G101", "G104"))
    special = True
    reference = "Poole et al. (2016); Schoenholz et al. (2017)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """For activations with such a point that a plain scale does not give."""
        model, activation = case.setup.model, usual_activation(case.snapshot)
        if not any(True for _ in weighted(model)):
            return
        if activation == "sigmoid":
            sigma_w, sigma_b, centred = _SIGMOID, 0.0, True
        elif activation in ("tanh", "hardtanh", "softsign", "erf"):
            point = edge_of_chaos(activation, _SIGMA_B)
            if point.sigma_w is None:
                return
            sigma_w, sigma_b, centred = point.sigma_w, _SIGMA_B, False
        else:
            return
        yield self.proposal(
            model,
            f"edge of chaos of {activation}: sigma_w {sigma_w:.3g}, "
            + ("biases that centre" if centred else f"sigma_b {sigma_b:g}"),
            {"sigma_w": sigma_w, "sigma_b": sigma_b, "centred": centred},
            product(model, case.snapshot, sigma_w, activation, sigma_b=sigma_b, centred=centred),
        )

    def lines(self, names: Names, parameters: dict[str, Any]) -> str:
        """A loop over the layers; the first one's inputs have no 1/2 to take off."""
        p = parameters
        bias = f"{names.nn}.init.normal_(layer.bias, std={p['sigma_b']:g})"
        if p["centred"]:
            bias = "layer.bias.copy_(-0.5 * layer.weight.flatten(1).sum(1) * (layer is not first))"
        first = (
            f"first = next(m for m in {names.model}.modules() if isinstance(m, {names.layers()}))\n"
        )
        return (
            first * p["centred"] + f"with {names.torch}.no_grad():\n"
            f"    for layer in {names.model}.modules():\n"
            f"        if isinstance(layer, {names.layers()}):\n"
            f"            std = {p['sigma_w']:.4g} / layer.weight[0].numel() ** 0.5\n"
            f"            {names.nn}.init.normal_(layer.weight, std=std)\n"
            f"            if layer.bias is not None:\n"
            f"                {bias}\n"
        )
