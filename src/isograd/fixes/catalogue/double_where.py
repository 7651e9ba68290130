"""Keep the branch that `where` does not take from making NaN on the way back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from isograd.fixes.calls import Replaced, around
from isograd.fixes.expressions import call_of, named, subject
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_UNSAFE = ("log", "log2", "log10", "sqrt", "rsqrt")


@register
class DoubleWhere(Kind):
    """The argument is 1 wherever it is not positive, in front of the function too.

    `where(x > 0, sqrt(x), 0)` has the gradient 0 * inf = NaN at x = 0: the derivative of the
    branch that is not taken still enters.
    """

    name = "double-where"
    cures = frozenset(("G601", "numerics"))
    part = "step"
    special = True
    reference = "the JAX FAQ on gradients and where"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """For unsafe functions whose result a `where` reads."""
        ops = case.snapshot.ops
        read = {i for op in ops if op.name in ("where", "masked_fill") for i in op.sources}
        for op in ops:
            if op.name in _UNSAFE and op.index in read and op.source is not None:
                yield Proposal(
                    f"a second where, in front of {op.name}",
                    {"call": op.name, "line": op.source},
                    undo="Remove the inner where.",
                    weight=0.5,
                )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Around the step, so that calls in the model and in the loss are met."""

        def instead(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            x = args[0] if args else None
            if not isinstance(x, Tensor):
                return func(*args, **kwargs)
            return func(torch.where(x > 0, x, torch.ones_like(x)), *args[1:], **kwargs)

        call, line = parameters["call"], parameters["line"]
        return around(setup, lambda: Replaced([call], [line], instead))

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The argument of the call."""
        file, call = call_of(source, fix.parameters["line"], (fix.parameters["call"],))
        text, method = subject(file, call)
        first, x = named(text)
        safe = f"{source.alias('torch', file)}.where({first} > 0, {x}, 1.0)"
        file.replace(call.func.value if method else call.args[0], safe)  # type: ignore[attr-defined]
