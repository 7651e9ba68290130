"""Fixes that are a few lines of PyTorch.

The lines that a trial runs on a copy are the lines that a patch puts into the source and that the
report offers to paste, so what is proven is what is given out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from isograd.fixes.kind import Kind, Proposal
from isograd.fixes.layers import layer_classes
from isograd.fixes.patches.source import Source
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix


class Names:
    """What lines call things where they are pasted.

    Attributes:
        classes: Names of the classes in `torch.nn` that the model's layers with weights are of.
    """

    model, step, optimizer, nn, torch = "model", "step", "optimizer", "nn", "torch"
    classes: tuple[str, ...] = ()

    def __init__(self, model: nn.Module | None = None) -> None:
        if model is not None:
            self.classes = layer_classes(model)

    def layers(self) -> str:
        """The classes as the second argument of `isinstance`."""
        from isograd.fixes.layers import as_source

        return as_source(self.nn, self.classes)


class _InSource(Names):
    """The same where a target ends; a name is only looked up if it is used."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.classes = source.sites.layers

    def __getattribute__(self, name: str) -> Any:
        if name in ("model", "step", "optimizer"):
            return self._source.name(name)
        if name == "nn":
            return self._source.nn()
        if name == "torch":
            return self._source.alias("torch")
        return super().__getattribute__(name)


class Written(Kind):
    """A fix of the catalogue that is its lines."""

    def lines(self, names: Names, parameters: dict[str, Any]) -> str:
        """The lines, for where model, step and optimizer are built.

        Args:
            names: What things are called there.
            parameters: Of the fix.
        """
        raise NotImplementedError

    def proposal(
        self,
        model: nn.Module,
        title: str,
        parameters: dict[str, Any],
        predicted: float | None = None,
        *,
        weight: float = 1.0,
        undo: str = "Remove the lines.",
    ) -> Proposal:
        """A proposal with its lines."""
        text = self.lines(Names(model), parameters)
        return Proposal(title, parameters, predicted, text, undo, weight)

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Run the lines."""
        space: dict[str, Any] = {
            "torch": torch,
            "nn": nn,
            "model": setup.model,
            "step": setup.step,
            "optimizer": setup.optimizer,
        }
        exec(compile(self.lines(Names(setup.model), parameters), f"<{self.name}>", "exec"), space)
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The lines before the return, when all is built."""
        source.before_return(self.lines(_InSource(source), fix.parameters))
