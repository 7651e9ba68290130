"""Keep a logarithm, a root or a quotient away from zero."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from isograd.fixes.calls import Replaced, around
from isograd.fixes.expressions import call_of, is_module_name, subject, wrapped
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_LOGS = ("log", "log2", "log10")
_ROOTS = ("sqrt", "rsqrt", "pow", "norm", "linalg_vector_norm")
_QUOTIENTS = ("div", "__truediv__", "true_divide", "__div__")
_EPS = 1e-6


@register
class SafeMath(Kind):
    """`log(x)` of x at least eps, `sqrt(x + eps)`, `a / (b + eps)`."""

    name = "safe-math"
    cures = frozenset(("G601", "numerics", "loss-head"))
    part = "step"
    # Where the user's own loss is not finite, only the guarded one can tell how the net does.
    redefines = True
    reference = "Higham (2002)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """For such calls at the line named, or else all outside of layers."""
        for op in case.snapshot.ops:
            here = op.source is not None and op.source == case.finding.source
            if op.name in (*_LOGS, *_ROOTS[:2], *_QUOTIENTS) and (here or op.grad_nonfinite):
                yield Proposal(
                    f"eps in {op.name}",
                    {"call": op.name, "line": op.source},
                    undo="Remove eps.",
                    weight=0.5,
                )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Around the step, so that calls in the model and in the loss are met."""
        name, line = parameters["call"], parameters["line"]

        def instead(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            values = list(args)
            at = 1 if name in _QUOTIENTS else 0
            if at < len(values) and isinstance(values[at], Tensor):
                x = values[at]
                values[at] = torch.clamp(x, min=_EPS) if name in _LOGS else x + _EPS
            return func(*values, **kwargs)

        return around(setup, lambda: Replaced([name], [line], instead))

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The operand at the line."""
        name, line = fix.parameters["call"], fix.parameters["line"]
        if name in _QUOTIENTS:
            found = source.nodes_at(line, ast.BinOp)
            quotients = [(f, n) for f, n in found if isinstance(n.op, ast.Div)]  # type: ignore[attr-defined]
            if not quotients:
                raise NotInSourceError(f"no division at {line}")
            file, node = quotients[-1]
            right = node.right  # type: ignore[attr-defined]
            file.replace(right, f"({file.code(right)} + {_EPS:g})")
            return
        file, call = call_of(source, line, (name,))
        text, method = subject(file, call)
        safe = f"{wrapped(text)}.clamp_min({_EPS:g})" if name in _LOGS else f"({text} + {_EPS:g})"
        if method and isinstance(call.func, ast.Attribute) and not is_module_name(call.func.value):
            file.replace(call.func.value, safe)
        else:
            file.replace(call.args[0], safe)
