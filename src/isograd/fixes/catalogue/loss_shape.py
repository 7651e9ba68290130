"""Bring prediction and target to one shape before they are compared."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from isograd.fixes.calls import Replaced, around
from isograd.fixes.expressions import wrapped
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_NAMES = ("sub", "__sub__", "rsub", "__rsub__", "subtract", "mse_loss", "l1_loss")
_NAMES += ("smooth_l1_loss", "huber_loss")
# By hand: a likelihood, a weighted sum.
_PRODUCTS = ("mul", "__mul__", "__rmul__", "multiply", "div", "__truediv__", "add", "__add__")


@register
class LossShape(Kind):
    """The prediction takes the target's shape, so that nothing is broadcast."""

    name = "loss-shape"
    cures = frozenset(("G401", "loss-shape"))
    part = "step"
    redefines = True

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where as many numbers are compared in different shapes."""
        for call in case.snapshot.losses:
            if call.name in (*_NAMES, *_PRODUCTS) and _differ(call.input_shape, call.target_shape):
                yield Proposal(
                    "the prediction in the shape of the target",
                    {"call": call.name, "line": call.source},
                    snippet="prediction = prediction.squeeze(-1)  # before it meets the target\n",
                    undo="Remove squeeze.",
                    weight=0.4,
                )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Reshape the operand with one dimension more."""

        def instead(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if len(args) > 1 and isinstance(args[0], Tensor) and isinstance(args[1], Tensor):
                a, b = args[0], args[1]
                if _differ(tuple(a.shape), tuple(b.shape)):
                    a, b = (a.reshape(b.shape), b) if a.dim() > b.dim() else (a, b.reshape(a.shape))
                    args = (a, b, *args[2:])
            return func(*args, **kwargs)

        return around(setup, lambda: Replaced([parameters["call"]], [parameters["line"]], instead))

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """`.squeeze(-1)` on the first operand."""
        p = fix.parameters
        if p["call"] in _PRODUCTS:
            raise NotInSourceError(
                f"which factor has the shape too many at {p['line']} is not said"
            )
        differences = [
            (f, n)
            for f, n in source.nodes_at(p["line"], ast.BinOp)
            if isinstance(n.op, ast.Sub)  # type: ignore[attr-defined]
        ]
        calls = source.calls_at(p["line"], [p["call"]]) or source.calls_of_two(p["line"])
        if calls:
            file, call = calls[-1]
            first: ast.expr = call.args[0]
        elif differences:
            file, node = differences[-1]
            first = node.left  # type: ignore[attr-defined]
        else:
            raise NotInSourceError(f"no difference was found at {p['line']}")
        file.replace(first, wrapped(file.code(first)) + ".squeeze(-1)")


def _differ(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    squeezed = [n for n in a if n != 1] == [n for n in b if n != 1]
    return a != b and squeezed and len(a) != len(b)
