"""A softmax over the last axis, not over the batch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from isograd.fixes.calls import Replaced, around
from isograd.fixes.expressions import call_of, is_module_name
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_NAMES = ("softmax", "log_softmax", "softmin")
_MODULES = (nn.Softmax, nn.LogSoftmax, nn.Softmin)


@register
class SoftmaxAxis(Kind):
    """Rows sum to 1: over classes, or over keys."""

    name = "softmax-axis"
    cures = frozenset(("G106", "G401", "G402", "G408", "loss-shape", "loss-head"))
    part = "step"
    redefines = True

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where a softmax runs over the first axis."""
        hit = [op for op in case.snapshot.ops if op.dim == 0 and op.name.rstrip("_") in _NAMES]
        paths = {name for name, m in case.setup.model.named_modules() if isinstance(m, _MODULES)}
        modules = sorted({op.module for op in hit if op.module in paths})
        lines = sorted({str(op.source) for op in hit if op.module not in paths and op.source})
        if modules or lines:
            yield Proposal(
                "softmax over the last axis instead of the batch",
                {"modules": modules, "lines": lines},
                snippet="softmax(dim=-1)\n",
                undo="Put dim back.",
                weight=0.3,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Set `dim` of the modules, and of the calls."""
        for path in parameters["modules"]:
            setup.model.get_submodule(path).dim = -1  # type: ignore[assignment]
        if not parameters["lines"]:
            return setup

        def instead(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if args and isinstance(args[0], Tensor) and args[0].dim() > 1:
                if "dim" in kwargs:
                    kwargs = {**kwargs, "dim": -1}
                elif len(args) > 1 and isinstance(args[1], int):
                    args = (args[0], -1, *args[2:])
            return func(*args, **kwargs)

        return around(setup, lambda: Replaced(_NAMES, parameters["lines"], instead))

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The axis in the call; one that a variable gives is left."""
        if fix.parameters["modules"]:
            raise NotInSourceError("the axis belongs to a module")
        for line in fix.parameters["lines"]:
            file, call = call_of(source, line, _NAMES)
            named = [k.value for k in call.keywords if k.arg == "dim"]
            method = isinstance(call.func, ast.Attribute) and not is_module_name(call.func.value)
            places = named or call.args[0 if method else 1 :]
            if not places or not isinstance(places[0], ast.Constant):
                raise NotInSourceError(f"the axis at {line} is not written there")
            file.replace(places[0], "-1")
