"""A leaky ReLU shaped for the depth of the net."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from scipy.optimize import brentq

from isograd.fixes import places
from isograd.fixes.catalogue import weights
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.layers import activation_name, hidden_activations, layer_classes, weighted
from isograd.fixes.patches.source import Source
from isograd.fixes.places import New
from isograd.fixes.prediction import product
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

# Correlation that two orthogonal inputs may have at the end of the net (Zhang et al., 2022).
_ETA = 0.9
_SWAPPED = ("relu", "leaky_relu", "sigmoid", "tanh", "hardtanh", "softsign", "elu", "gelu", "silu")


@register
class Tailored(Kind):
    """The slope at which inputs stay apart over the whole depth, and weights at gain 1.

    The slope a solves C(C(...C(0))) = 0.9 over the layers, with
    C(c) = c + (1 - a)^2 / (pi (1 + a^2)) (sqrt(1 - c^2) - c arccos(c));
    the weights get variance 2 / ((1 + a^2) fan_in).
    """

    name = "tailored-activation"
    cures = frozenset(("activation-derivative", "rank-collapse", "G101", "G108"))
    special = True
    reference = "Zhang, Botev and Martens (2022)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """For nets of at least four hidden activations, of which most are of one kind."""
        model = case.setup.model
        hidden = hidden_activations(case.snapshot)
        ops = [op for op in hidden if activation_name(op) in _SWAPPED]
        if len(ops) < 4 or not any(True for _ in weighted(model)):
            return
        slope = float(f"{tailored_slope(len(ops)):.3g}")
        if slope == 0:  # ReLU itself keeps inputs apart over so few layers
            return
        where, sigma = places.found(model, ops), _sigma(slope)
        swap = places.lines(where, _new(slope))
        yield Proposal(
            f"LeakyReLU tailored to {len(ops)} layers: slope {slope:g}, weights at gain 1",
            {**where, "slope": slope},
            product(model, case.snapshot, sigma, "leaky_relu", slope=slope),
            swap and swap + weights.lines("model", "nn", sigma, classes=layer_classes(model)),
            "Put the activation back.",
            1.5,
        )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Replace modules and calls; draw the weights."""
        slope = parameters["slope"]
        places.changed(setup.model, parameters, _new(slope))
        for _, layer in weighted(setup.model):
            weights.draw(layer, _sigma(slope))
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """Constructors, calls and weights."""
        slope = fix.parameters["slope"]
        places.edited(source, fix.parameters, _new(slope))
        weights.edit(source, _sigma(slope))


def correlation(slope: float, depth: int) -> float:
    """Correlation of two orthogonal inputs after some layers of leaky ReLU at gain 1.

    >>> round(correlation(1.0, 10), 12), round(correlation(0.0, 1), 6) == round(1 / math.pi, 6)
    (0.0, True)
    """
    shape = (1 - slope) ** 2 / (math.pi * (1 + slope**2))
    c = 0.0
    for _ in range(depth):
        c = min(1.0, c + shape * (math.sqrt(max(0.0, 1 - c * c)) - c * math.acos(c)))
    return c


def tailored_slope(depth: int) -> float:
    """The slope at which that correlation is 0.9; 0 where ReLU stays below."""
    if correlation(0.0, depth) <= _ETA:
        return 0.0
    return float(brentq(lambda a: correlation(a, depth) - _ETA, 0.0, 1.0))  # type: ignore[arg-type]


def _sigma(slope: float) -> float:
    return math.sqrt(2 / (1 + slope**2))


def _new(slope: float) -> New:
    return New("LeakyReLU", "leaky_relu", {"negative_slope": slope})
