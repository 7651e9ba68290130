"""Normalisation layers as they are meant: small eps, gain 1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_NORMS = (
    nn.LayerNorm,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.RMSNorm,
)
_LARGE = 1e-2


@register
class NormSettings(Kind):
    """eps at 1e-5 where it is larger than 0.01, and gains at 1 where they are 0."""

    name = "norm-settings"
    cures = frozenset(("normalization", "G101", "G103", "G105", "G109", "dead-units"))
    reference = "Ioffe and Szegedy (2015); Ba et al. (2016)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where one is off."""
        norms = [m for m in case.setup.model.modules() if isinstance(m, _NORMS)]
        large = any((m.eps or 0) > _LARGE for m in norms)
        zero = any(isinstance(m.weight, Tensor) and not bool(m.weight.any()) for m in norms)
        if large or zero:
            words = ["eps 1e-5"] * large + ["gain 1"] * zero
            yield Proposal(
                "normalisation with " + " and ".join(words),
                snippet=_lines("model", "nn"),
                undo="Remove the loop.",
                weight=0.5,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Set both."""
        for module in setup.model.modules():
            if isinstance(module, _NORMS):
                if (module.eps or 0) > _LARGE:
                    module.eps = 1e-5
                if isinstance(module.weight, Tensor) and not bool(module.weight.any()):
                    nn.init.ones_(module.weight)
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """A loop before the return."""
        source.before_return(_lines(source.name("model"), source.nn()))


def _lines(model: str, nn_name: str) -> str:
    return (
        f"for layer in {model}.modules():\n"
        f'    if "Norm" in type(layer).__name__:\n'
        f"        layer.eps = min(layer.eps, 1e-5)\n"
        f"        if layer.weight is not None and not layer.weight.any():\n"
        f"            {nn_name}.init.ones_(layer.weight)\n"
    )
