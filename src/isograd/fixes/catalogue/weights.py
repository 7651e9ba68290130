"""Draw the weights at the scale that the activation needs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.layers import (
    SIGMA_W,
    as_source,
    layer_classes,
    set_scale,
    usual_activation,
    weighted,
)
from isograd.fixes.patches import initialisation
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError
from isograd.fixes.prediction import product
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_NAMES = {"relu": "He", "tanh": "LeCun", "selu": "LeCun", "identity": "LeCun"}


@register
class Weights(Kind):
    """Normal weights with variance `sigma_w**2 / fan_in`, biases at 0, or orthogonal ones."""

    name = "weights"
    cures = frozenset(
        (
            "weight-scale",
            "dead-units",
            "rank-collapse",
            "activation-derivative",
            "residual-scale",
            "G112",
            "G113",
            "G409",
        )
    )
    reference = "He et al. (2015); LeCun et al. (1998); Saxe et al. (2014)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """At the activation's own scale, normal and orthogonal."""
        if not any(True for _ in weighted(case.setup.model)):
            return
        activation = usual_activation(case.snapshot)
        wanted = SIGMA_W.get(activation, 1.0)
        name = _NAMES.get(activation, f"scale {wanted:.3g}")
        title = f"{name} initialisation for {activation}, biases 0"
        yield self._proposal(case, title, wanted, False)
        yield self._proposal(
            case, f"orthogonal weights at gain {wanted:.3g}, biases 0", wanted, True
        )

    def _proposal(self, case: Case, title: str, wanted: float, orthogonal: bool) -> Proposal:
        snippet = lines("model", "nn", wanted, orthogonal, layer_classes(case.setup.model))
        return Proposal(
            title,
            {"sigma_w": wanted, "orthogonal": orthogonal},
            product(case.setup.model, case.snapshot, wanted, usual_activation(case.snapshot)),
            snippet,
            "Remove the loop that sets the weights.",
        )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Draw all linear and convolution weights anew."""
        for _, layer in weighted(setup.model):
            draw(layer, parameters["sigma_w"], parameters["orthogonal"])
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The calls that set the weights now, or a loop."""
        edit(source, fix.parameters["sigma_w"], fix.parameters["orthogonal"])


def draw(layer: Any, wanted: float, orthogonal: bool = False) -> None:
    """Set one layer's weight, and its bias to 0."""
    if orthogonal:
        nn.init.orthogonal_(layer.weight, wanted)
    else:
        set_scale(layer.weight, wanted)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def edit(source: Source, wanted: float, orthogonal: bool = False) -> None:
    """The calls that set the weights now, or a loop before the return."""
    how = _call(wanted, orthogonal)
    try:
        initialisation.weights_set(source, source.sites.weights, source.sites.biases, how)
    except NotInSourceError:
        source.before_return(
            lines(source.name("model"), source.nn(), wanted, orthogonal, source.sites.layers)
        )


def _call(wanted: float, orthogonal: bool) -> str:
    if orthogonal:
        return f"{{init}}.orthogonal_({{weight}}, gain={wanted:.4g})"
    if math.isclose(wanted, math.sqrt(2)):
        return '{init}.kaiming_normal_({weight}, nonlinearity="relu")'
    if wanted == 1.0:
        return '{init}.kaiming_normal_({weight}, nonlinearity="linear")'
    return f"{{init}}.normal_({{weight}}, std={wanted:.4g} / {{weight}}[0].numel() ** 0.5)"


def lines(
    model: str,
    nn_name: str,
    wanted: float,
    orthogonal: bool = False,
    classes: Sequence[str] = (),
) -> str:
    """The same as source."""
    how = _call(wanted, orthogonal).format(init=f"{nn_name}.init", weight="layer.weight")
    return (
        f"for layer in {model}.modules():\n"
        f"    if isinstance(layer, {as_source(nn_name, classes)}):\n"
        f"        {how}\n"
        f"        if layer.bias is not None:\n"
        f"            {nn_name}.init.zeros_(layer.bias)\n"
    )
