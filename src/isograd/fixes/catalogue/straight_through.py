"""A gradient for ops that have none: the straight-through estimator."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from isograd.fixes.calls import Replaced, around
from isograd.fixes.expressions import call_of, named, subject, wrapped
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError
from isograd.fixes.patches.text import File
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_STEPS = ("round", "sign", "floor", "ceil", "trunc", "round_", "sign_")
_COMPARED = ("gt", "ge", "lt", "le", "__gt__", "__ge__", "__lt__", "__le__", "greater", "less")
# Smooth steps of the same height: their gradient dies away where a unit is clearly on or off.
_SURROGATES = dict.fromkeys(_COMPARED, "sigmoid") | {"sign": "tanh", "sign_": "tanh"}
_STEEP = 3


@register
class StraightThrough(Kind):
    """Forward as it is; backward as if the op were the identity."""

    name = "straight-through"
    cures = frozenset(("non-differentiable", "G105", "G501"))
    part = "step"
    reference = "Bengio et al. (2013)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """For the op named at the finding's line."""
        names = [op.name for op in case.snapshot.ops if op.source == case.finding.source]
        names += [
            c.split(" at ")[0] for c in case.snapshot.cuts if c.endswith(str(case.finding.source))
        ]
        for name in dict.fromkeys(n for n in names if n in (*_STEPS, *_COMPARED)):
            parameters = {"call": name, "line": case.finding.source}
            yield Proposal(
                f"straight-through gradient of {name}",
                parameters,
                snippet="y = x + (f(x) - x).detach()  # f forward, the identity backward\n",
                undo="Call the function alone.",
                weight=0.8,
            )
            if name in _SURROGATES:
                surrogate = _SURROGATES[name]
                yield Proposal(
                    f"{name} with the gradient of a steep {surrogate}",
                    {**parameters, "surrogate": surrogate},
                    snippet=f"s = torch.{surrogate}({_STEEP} * x)\n"
                    "y = s + (f(x) - s).detach()  # f forward, the smooth step backward\n",
                    undo="Call the function alone.",
                    weight=0.8,
                )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Add the detached difference."""
        name, line = parameters["call"], parameters["line"]
        surrogate = parameters.get("surrogate")

        def instead(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            x = args[0]
            if not isinstance(x, Tensor) or not x.is_floating_point():
                return func(*args, **kwargs)
            y = func(x.detach().clone(), *args[1:], **kwargs)
            sign = -1 if name in ("lt", "le", "__lt__", "__le__", "less") else 1
            if surrogate:
                other = args[1] if len(args) > 1 else 0
                x = getattr(torch, surrogate)(_STEEP * (x - other))
            return sign * (x - x.detach()) + y.to(x.dtype)

        return around(setup, lambda: Replaced([name], [line], instead))

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The call, or the comparison with its `.float()`."""
        name, line = fix.parameters["call"], fix.parameters["line"]
        surrogate = fix.parameters.get("surrogate")
        if name in _STEPS:
            file, call = call_of(source, line, (name,))
            text, method = subject(file, call)
            first, x = named(text)
            smooth = _smooth(source, file, surrogate, x)
            again = file.code(call)
            if method:
                again = f"{x}{again[again.rindex('.') :]}"
            else:
                again = f"{file.code(call.func)}({x})"
            if surrogate:
                first = _smooth(source, file, surrogate, first)
            file.replace(call, f"({first} + ({again} - {smooth}).detach())")
            return
        for file, node in source.nodes_at(line, ast.Compare):
            parent = file.parents.get(node)
            outer = file.parents.get(parent) if parent is not None else None
            if isinstance(parent, ast.Attribute) and parent.attr == "float":
                left = file.code(node.left)  # type: ignore[attr-defined]
                first, x = named(left)
                whole = outer if isinstance(outer, ast.Call) else parent
                again = file.code(whole).replace(left, x, 1)
                right = file.code(node.comparators[0])  # type: ignore[attr-defined]
                shift = "" if right in ("0", "0.0") else f" - {wrapped(right)}"
                down = isinstance(node.ops[0], ast.Lt | ast.LtE)  # type: ignore[attr-defined]
                smooth = _smooth(source, file, surrogate, x + shift)
                if surrogate:
                    first = _smooth(source, file, surrogate, first + shift)
                plus, minus = ("-", "+") if down else ("", "-")
                file.replace(whole, f"({plus}{first} + ({again} {minus} {smooth}).detach())")
                return
        raise NotInSourceError(f"no {name} was found at {line}")


def _smooth(source: Source, file: File, surrogate: str | None, x: str) -> str:
    """The smooth step of an expression; the expression itself without one."""
    if not surrogate:
        return x
    return f"{source.alias('torch', file)}.{surrogate}({_STEEP} * {wrapped(x)})"
