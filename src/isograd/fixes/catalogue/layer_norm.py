"""Norms that do not depend on the batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.layers import put
from isograd.fixes.patches.source import Source
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@register
class LayerNorm(Kind):
    """`GroupNorm` with one group in the place of batch norm: each sample by its own statistics.

    Statistics over two samples are noise, and the running ones do not fit them. Gain and bias are
    kept; the trained ones move on from where they are.
    """

    name = "layer-norm"
    cures = frozenset(("noise", "normalization", "G701", "G109"))
    reference = "Ba et al. (2016); Wu and He (2018)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where there are batch norms."""
        count = sum(isinstance(m, _NORMS) for m in case.setup.model.modules())
        if count:
            yield Proposal(
                f"layer norms in the place of {count} batch norms",
                snippet=_lines("model", "nn"),
                undo="Put the batch norms back.",
                weight=0.8,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Replace the modules; their weights stay the optimizer's."""
        for path, module in list(setup.model.named_modules()):
            if isinstance(module, _NORMS):
                put(setup.model, path, one_group(module))
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """A loop before the return."""
        source.before_return(_lines(source.name("model"), source.nn(source.home)))


def one_group(norm: Any) -> nn.GroupNorm:
    """The same gain and bias around statistics of each sample."""
    new = nn.GroupNorm(1, norm.num_features, norm.eps, norm.affine)
    if norm.affine:
        new.weight, new.bias = norm.weight, norm.bias
    return new


def _lines(model: str, nn_name: str) -> str:
    kinds = ", ".join(f"{nn_name}.{cls.__name__}" for cls in _NORMS)
    return (
        f"for name, norm in list({model}.named_modules()):\n"
        f"    if isinstance(norm, ({kinds})):\n"
        f"        group = {nn_name}.GroupNorm(1, norm.num_features, norm.eps, norm.affine)\n"
        f"        group.weight, group.bias = norm.weight, norm.bias\n"
        f"        parent = {model}.get_submodule(name.rpartition('.')[0])\n"
        f"        setattr(parent, name.rpartition('.')[2], group)\n"
    )
