"""Weights between the two variances that keep signal and gradient."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from isograd.fixes.kind import Case, Proposal, register
from isograd.fixes.layers import usual_activation, weighted
from isograd.fixes.prediction import product
from isograd.fixes.written import Names, Written

_SQUASHING = ("sigmoid", "tanh", "hardtanh", "softsign", "identity")


@register
class Glorot(Written):
    """Normal weights with variance `2 / (fan_in + fan_out)`, biases at 0."""

    name = "glorot"
    cures = frozenset(("weight-scale", "activation-derivative", "G112"))
    special = True
    reference = "Glorot and Bengio (2010)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """For activations that are odd about 0 or none; layers of one width give LeCun's."""
        model = case.setup.model
        activation = usual_activation(case.snapshot)
        if activation not in _SQUASHING or not any(True for _ in weighted(model)):
            return
        predicted = product(model, case.snapshot, sigma, activation)
        yield self.proposal(
            model, f"Glorot initialisation for {activation}, biases 0", {}, predicted
        )

    def lines(self, names: Names, parameters: dict[str, Any]) -> str:
        """A loop over the layers."""
        return (
            f"for layer in {names.model}.modules():\n"
            f"    if isinstance(layer, {names.layers()}):\n"
            f"        {names.nn}.init.xavier_normal_(layer.weight)\n"
            f"        if layer.bias is not None:\n"
            f"            {names.nn}.init.zeros_(layer.bias)\n"
        )


def sigma(layer: Any) -> float:
    """`sqrt(fan_in * variance)` of a layer drawn so."""
    inputs = layer.weight[0].numel()
    outputs = layer.weight.numel() // layer.weight.shape[1]
    return math.sqrt(2 * inputs / (inputs + outputs))
