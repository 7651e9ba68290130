"""Targets at zero mean and unit variance, undone on the way out."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from isograd.fixes.expressions import data_line
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_SQUARED = ("mse_loss", "sub", "__sub__", "rsub", "__rsub__")
_ABSOLUTE = ("l1_loss", "smooth_l1_loss", "huber_loss")


class Units(torch.autograd.Function):
    """Outputs in the user's units, with the gradient that the loss has in standard ones."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, mean: float, std: float, power: int) -> Tensor:
        """From standard units."""
        ctx.factor = std ** (power - 1)
        return output * std + mean

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Of the loss in standard units."""
        return gradients[0] / ctx.factor, None, None, None


class _Hook:
    def __init__(self, mean: float, std: float, power: int) -> None:
        self._settings = mean, std, power

    def __call__(self, _: Any, __: Any, output: Any) -> Any:
        if not isinstance(output, Tensor):
            return output
        return Units.apply(output, *self._settings)


@register
class TargetScale(Kind):
    """The net answers in standard units; the loss stays in the user's."""

    name = "target-scale"
    cures = frozenset(("G404", "G407", "labels", "loss-head", "G301", "G303", "learning-rate"))
    reference = "LeCun et al. (1998)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """For one regression whose targets are not of unit size."""
        calls = [
            c
            for c in case.snapshot.losses
            if c.name in (*_SQUARED, *_ABSOLUTE) and not c.integer_target
        ]
        if len(calls) != 1 or calls[0].target.std <= 0:
            return
        target = calls[0].target
        if not 0.2 < math.hypot(target.mean, target.std) < 5 and math.isfinite(target.std):
            yield Proposal(
                f"targets in standard units (mean {target.mean:.3g}, deviation {target.std:.3g})",
                {
                    "mean": target.mean,
                    "std": target.std,
                    "power": 2 if calls[0].name in _SQUARED else 1,
                    "call": calls[0].name,
                    "line": calls[0].source,
                },
                snippet="targets = (targets - targets.mean()) / targets.std()\n",
                undo="Hand over the targets as they are.",
                weight=0.8,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """A hook on the output."""
        hook = _Hook(parameters["mean"], parameters["std"], parameters["power"])
        setup.model.register_forward_hook(hook)
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """A line behind the one that makes the targets."""
        p = fix.parameters
        calls = source.calls_at(p["line"], [p["call"]])
        if calls:
            node: ast.expr = calls[-1][1].args[1]
        else:
            found = source.nodes_at(p["line"], ast.BinOp)
            minus = [n for _, n in found if isinstance(n.op, ast.Sub)]  # type: ignore[attr-defined]
            if not minus:
                raise NotInSourceError("the targets were not found")
            node = minus[-1].right  # type: ignore[attr-defined]
        file, after, name = data_line(source, node)
        file.insert(None, after, f"{name} = ({name} - {name}.mean()) / {name}.std()\n")
