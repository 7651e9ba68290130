"""A probability from one unit: sigmoid, where a softmax stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from isograd.fixes.calls import Replaced, around
from isograd.fixes.expressions import call_of, subject
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.layers import put
from isograd.fixes.patches import modules
from isograd.fixes.patches.source import Source
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_NAMES = ("softmax",)


@register
class OneUnit(Kind):
    """A softmax over one unit is 1 whatever goes in, and one over the batch shares out 1."""

    name = "one-unit"
    cures = frozenset(("G401", "G402", "G408", "loss-shape", "loss-head"))
    part = "step"
    redefines = True

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where a softmax feeds a loss of yes and no."""
        if not any(call.name == "binary_cross_entropy" for call in case.snapshot.losses):
            return
        known = dict(case.setup.model.named_modules())
        for op in case.snapshot.ops[::-1]:
            if op.name in _NAMES and op.source is not None:
                module = isinstance(known.get(op.module), nn.Softmax)
                yield Proposal(
                    "sigmoid instead of softmax",
                    {"module": op.module if module else "", "line": op.source},
                    snippet="torch.sigmoid(x)  # one unit: softmax is 1 whatever x is\n",
                    undo="Put softmax back.",
                    weight=0.4,
                )
                return

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Replace the module or the call."""
        if parameters["module"]:
            put(setup.model, parameters["module"], nn.Sigmoid())
            return setup

        def instead(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return torch.sigmoid(args[0] if args else kwargs["input"])

        return around(setup, lambda: Replaced(_NAMES, [parameters["line"]], instead))

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The call, or the class of the module."""
        if fix.parameters["module"]:
            modules.replaced(source, [fix.parameters["module"]], "Softmax", "Sigmoid")
            return
        file, call = call_of(source, fix.parameters["line"], _NAMES)
        text, _ = subject(file, call)
        file.replace(call, f"{source.alias('torch', file)}.sigmoid({text})")
