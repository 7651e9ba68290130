"""Put another activation in the place of one that squeezes the gradient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isograd.fixes import places
from isograd.fixes.catalogue import weights
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.layers import (
    SIGMA_W,
    activation_name,
    hidden_activations,
    layer_classes,
    weighted,
)
from isograd.fixes.patches.source import Source
from isograd.fixes.places import New
from isograd.fixes.prediction import product
from isograd.fixes.setup import Setup
from isograd.records import Finding, Op
from isograd.records.fix import Fix

_NEW = {
    "relu": (New("ReLU", "relu"), "He"),
    "gelu": (New("GELU", "gelu"), "scaled"),
    "elu": (New("ELU", "elu"), "scaled"),
    "selu": (New("SELU", "selu"), "LeCun"),
    "tanh": (New("Tanh", "tanh"), "LeCun"),
    "leaky_relu": (New("LeakyReLU", "leaky_relu"), "He"),
}
_WANTED = {
    "sigmoid": ("relu", "selu", "elu", "tanh"),
    "logsigmoid": ("relu", "elu"),
    "hardsigmoid": ("relu", "tanh"),
    "tanh": ("relu", "elu"),
    "hardtanh": ("relu", "elu"),
    "softsign": ("relu", "elu"),
    "relu": ("leaky_relu", "gelu"),
    "softmax": ("relu", "tanh"),
    "exp": ("relu", "elu"),
}


@register
class Activation(Kind):
    """Swap the hidden activations, and draw the weights at the new one's scale."""

    name = "activation"
    cures = frozenset(("activation-derivative", "dead-units", "G101", "G104", "G107", "G103"))
    reference = "Glorot et al. (2011); He et al. (2015); Klambauer et al. (2017)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """The usual swaps for the activation that is there most often."""
        hidden = hidden_activations(case.snapshot)
        extra = [op for op in case.snapshot.ops if case.finding.code == "G107" and _named(op, case)]
        names = [activation_name(op) for op in (*extra, *hidden) if activation_name(op) in _WANTED]
        if not names:
            return
        old = max(dict.fromkeys(names), key=names.count)
        ops = [op for op in (*extra, *hidden) if activation_name(op) == old]
        where = places.found(case.setup.model, ops)
        model = case.setup.model
        redraw = any(True for _ in weighted(model))
        for name in _WANTED[old]:
            if old == "relu" and case.finding.cause != "dead-units":
                continue
            (new, draws), sigma = _NEW[name], SIGMA_W[name]
            swap = places.lines(where, new)
            yield Proposal(
                f"{new.module} instead of {old}, {draws} initialisation",
                {"from": old, "to": name, **where, "sigma_w": sigma if redraw else None},
                product(model, case.snapshot, sigma, name),
                swap
                and swap
                + weights.lines("model", "nn", sigma, classes=layer_classes(model)) * redraw,
                f"Put {old} back.",
                weight=1.5,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Replace modules and calls; draw the weights."""
        places.changed(setup.model, parameters, _NEW[parameters["to"]][0])
        if parameters["sigma_w"]:
            for _, layer in weighted(setup.model):
                weights.draw(layer, parameters["sigma_w"])
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """Constructors and calls of the old one, and the weights."""
        places.edited(source, fix.parameters, _NEW[fix.parameters["to"]][0])
        if fix.parameters["sigma_w"]:
            weights.edit(source, fix.parameters["sigma_w"])


def _named(op: Op, case: Case) -> bool:
    return (op.module or op.name) in case.finding.where and activation_name(op) in _WANTED
