"""A normalisation behind each hidden layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from isograd.fixes.kind import Case, Proposal, register
from isograd.fixes.layers import weighted
from isograd.fixes.setup import Setup
from isograd.fixes.written import Names, Written

_NORMS = (
    nn.LayerNorm,
    nn.RMSNorm,
    nn.GroupNorm,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
)
_BY_LAYER = {"Linear": "LayerNorm", "Conv1d": "BatchNorm1d", "Conv2d": "BatchNorm2d"}


@register
class AddNorm(Written):
    """LayerNorm behind linear layers, batch norm behind convolutions; not behind the last.

    What enters each activation has variance 1 whatever the weights, and the gain of a layer does
    not depend on their scale.
    """

    name = "add-norm"
    cures = frozenset(("weight-scale", "activation-derivative", "rank-collapse", "G101", "G102"))
    cures |= frozenset(("G104", "G108", "G112", "dead-units", "normalization"))
    special = True
    reference = "Ba et al. (2016); Ioffe and Szegedy (2015)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where there is no normalisation."""
        model = case.setup.model
        if any(isinstance(m, _NORMS) for m in model.modules()):
            return
        order = [op.module for op in case.snapshot.ops if op.kind == "weight"]
        kinds = {path: type(layer).__name__ for path, layer in weighted(model)}
        paths = [p for p in dict.fromkeys(order) if kinds.get(p) in _BY_LAYER and p][:-1]
        if not paths:
            return
        yield self.proposal(
            model,
            f"a norm behind each of {len(paths)} hidden layers",
            {"layers": paths, "optimizer": case.setup.optimizer is not None},
            weight=2.0,
        )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Run the lines; a model without an optimizer gets the new ones into a copy's."""
        setup = super().change(setup, parameters)
        setup.own([p for p in setup.model.parameters() if p.requires_grad])
        return setup

    def lines(self, names: Names, parameters: dict[str, Any]) -> str:
        """A loop over the layers, by path."""
        paths = ", ".join(f'"{path}"' for path in parameters["layers"])
        n = names.nn
        cases = [
            ("Linear", f"{n}.LayerNorm(layer.out_features)"),
            ("Conv1d", f"{n}.BatchNorm1d(layer.out_channels)"),
            ("Conv2d", f"{n}.BatchNorm2d(layer.out_channels)"),
        ]
        used = [c for c in cases if c[0] in names.classes] or cases
        choose = "".join(
            f"    {'el' if i else ''}if isinstance(layer, {n}.{kind}):\n        norm = {norm}\n"
            for i, (kind, norm) in enumerate(used)
        )
        if len(used) == 1:
            choose = f"    norm = {used[0][1]}\n"
        hand = ""
        if parameters["optimizer"]:
            hand = f'    {names.optimizer}.param_groups[0]["params"].extend(norm.parameters())\n'
        return (
            f"for path in ({paths},):\n"
            f"    layer = {names.model}.get_submodule(path)\n"
            f"{choose}"
            f"    norm.to(layer.weight.device, layer.weight.dtype)\n"
            f'    parent, _, child = path.rpartition(".")\n'
            f"    block = {n}.Sequential(layer, norm)\n"
            f"    setattr({names.model}.get_submodule(parent), child, block)\n"
            f"{hand}"
        )
