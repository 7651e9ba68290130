"""Layers that stand in a plain list become part of the model."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError
from isograd.fixes.setup import Setup
from isograd.monitor.unregistered import unregistered
from isograd.records import Finding
from isograd.records.fix import Fix


@register
class Registered(Kind):
    """`nn.ModuleList` instead of a list, and the weights in the optimizer."""

    name = "module-list"
    cures = frozenset(("G302", "optimizer-state", "graph-cut"))
    part = "optimizer"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where trainable tensors hang outside."""
        if unregistered(case.setup.model):
            yield Proposal(
                "register the layers of plain lists",
                undo="A plain list again.",
                weight=0.4,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Replace lists of modules; hand what is new to the optimizer."""
        new = [t for t in unregistered(setup.model).values() if isinstance(t, nn.Parameter)]
        for module in list(setup.model.modules()):
            for name, value in list(vars(module).items()):
                if (
                    isinstance(value, list)
                    and value
                    and all(isinstance(v, nn.Module) for v in value)
                ):
                    delattr(module, name)
                    setattr(module, name, nn.ModuleList(value))
                elif isinstance(value, dict) and not name.startswith("_") and value:
                    if all(isinstance(v, nn.Module) for v in value.values()):
                        delattr(module, name)
                        setattr(module, name, nn.ModuleDict(value))
        assert all(isinstance(t, Tensor) for t in new)
        setup.own(new)
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The assignments of lists to `self`."""
        names = {path.split("[")[0].rpartition(".")[2] for path in finding.where}
        done = 0
        for file in source.files:
            for node in ast.walk(file.tree):
                if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
                    continue
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if isinstance(target, ast.Attribute) and target.attr in names:
                    kind = "ModuleDict" if isinstance(node.value, ast.Dict) else "ModuleList"
                    text = file.code(node.value)
                    file.replace(node.value, f"{source.nn(file)}.{kind}({text})")
                    done += 1
        if not done:
            raise NotInSourceError("the list was not found in your source")
