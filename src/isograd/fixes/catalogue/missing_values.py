"""Zeros in the place of missing values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from isograd.fixes.expressions import data_line, model_input
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix


def _filled(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    def fill(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        return torch.nan_to_num(value, nan=0.0, posinf=0.0, neginf=0.0)

    return tuple(map(fill, args)), {k: fill(v) for k, v in kwargs.items()}


@register
class MissingValues(Kind):
    """NaN and infinite entries of the inputs become 0."""

    name = "missing-values"
    cures = frozenset(("G601", "data", "numerics"))
    reference = "Little and Rubin (2002)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where such entries enter."""
        if any(op.inputs is not None and op.inputs.nonfinite for op in case.snapshot.ops):
            yield Proposal(
                "fill missing inputs with 0",
                snippet="inputs = torch.nan_to_num(inputs)\n",
                undo="Remove nan_to_num.",
                weight=0.5,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """A hook on the model."""
        setup.model.register_forward_pre_hook(_filled, with_kwargs=True)
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """A line behind the one that makes the data."""
        file, after, name = data_line(source, model_input(source))
        code = f"{name} = {source.alias('torch', file)}.nan_to_num({name}, 0.0, 0.0, 0.0)\n"
        file.insert(None, after, code)
