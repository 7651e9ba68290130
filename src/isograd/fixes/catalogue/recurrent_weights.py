"""Recurrent weights that neither shrink nor stretch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.layers import RECURRENT, parts_of
from isograd.fixes.patches.source import Source
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix


@register
class RecurrentWeights(Kind):
    """Orthogonal or identity recurrent weights; square layers applied in a loop count too."""

    name = "recurrent-weights"
    cures = frozenset(("G201", "recurrence", "weight-scale"))
    reference = "Saxe et al. (2014); Le et al. (2015)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """For recurrent modules, and for the looped layer that the finding names."""
        cores = parts_of(case.setup.model, (), RECURRENT)
        looped = [
            op.module
            for op in case.snapshot.ops
            if op.loops and isinstance(_weight(case.setup.model, op.module), nn.Parameter)
        ]
        looped = list(dict.fromkeys(looped))
        if not cores and not looped:
            return
        for how, gain in (("orthogonal", 1.0), ("orthogonal", 1.1), ("identity", 1.0)):
            names = [f"{core}.weight_hh" for core in cores] + [f"{m}.weight" for m in looped]
            yield Proposal(
                f"{how} recurrent weights" + (f" at gain {gain:g}" if gain != 1 else ""),
                {"how": how, "gain": gain, "cores": cores, "layers": looped},
                snippet=_lines("model", "nn", how, gain, cores, looped),
                undo="Remove the loop.",
                weight=0.8 + 0.01 * len(names),
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Set each square block of the recurrent weights."""
        model = setup.model
        found = [
            p
            for core in parameters["cores"]
            for name, p in model.get_submodule(core).named_parameters()
            if name.startswith("weight_hh")
        ]
        looped = [model.get_submodule(path).weight for path in parameters["layers"]]
        found += [weight for weight in looped if isinstance(weight, nn.Parameter)]
        with torch.no_grad():
            for weight in found:
                for block in torch.split(weight, weight.shape[1]):
                    if parameters["how"] == "identity":
                        block.copy_(torch.eye(*block.shape))
                    else:
                        nn.init.orthogonal_(block, parameters["gain"])
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """Lines behind the model."""
        p = fix.parameters
        source.before_return(
            _lines(source.name("model"), source.nn(), p["how"], p["gain"], p["cores"], p["layers"])
        )


def _weight(model: nn.Module, path: str) -> Any:
    try:
        weight = model.get_submodule(path).weight
    except AttributeError:
        return None
    square = getattr(weight, "shape", ())[:1] == getattr(weight, "shape", (0, 1))[1:]
    return weight if square else None


def _lines(
    model: str, nn_name: str, how: str, gain: float, cores: list[str], layers: list[str]
) -> str:
    names = tuple(
        [f"{c}.weight_hh" if c else "weight_hh" for c in cores] + [f"{m}.weight" for m in layers]
    )
    set_ = (
        f"{nn_name}.init.eye_(block)"
        if how == "identity"
        else f"{nn_name}.init.orthogonal_(block, {gain:g})"
    )
    return (
        f"for name, weight in {model}.named_parameters():\n"
        f"    if name.startswith({names!r}):\n"
        f"        for block in weight.data.split(weight.shape[1]):\n"
        f"            {set_}\n"
    )
