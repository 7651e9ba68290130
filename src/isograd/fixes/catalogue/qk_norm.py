"""Queries and keys of unit length."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from isograd.fixes.before_softmax import softmaxes
from isograd.fixes.calls import Replaced, inside
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError
from isograd.fixes.setup import Setup
from isograd.records import Finding, Op, Snapshot
from isograd.records.fix import Fix

_PRODUCTS = ("matmul", "__matmul__", "bmm", "__rmatmul__")
# Calls between the product and the softmax: a scale, a mask, a cast.
_BETWEEN = 6


@register
class QkNorm(Kind):
    """Logits are the cosine of query and key, times sqrt(d): they cannot exceed it."""

    name = "qk-norm"
    cures = frozenset(("G106", "attention-scale"))
    special = True
    reference = "Henry et al. (2020); Dehghani et al. (2023)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where the product of queries and keys is found in front of the softmax."""
        calls: dict[str, str] = {}
        width = 0
        for op in softmaxes(case):
            product, width = product_before(case.snapshot, op)
            if product is not None and product.source is not None and width:
                calls[product.source] = product.name
        if not calls:
            return
        for factor in (math.sqrt(width), float(width)):
            factor = float(f"{factor:.4g}")
            yield Proposal(
                f"queries and keys of unit length, logits times {factor:g}",
                {"calls": sorted(set(calls.values())), "lines": sorted(calls), "factor": factor},
                undo="Take the product of queries and keys as they are.",
                weight=1.0,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Normalise both operands of the product."""
        factor = parameters["factor"]

        def instead(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if len(args) < 2 or not all(isinstance(a, Tensor) for a in args[:2]):
                return func(*args, **kwargs)
            queries, keys = F.normalize(args[0], dim=-1), F.normalize(args[1], dim=-2)
            return factor * func(queries, keys, *args[2:], **kwargs)

        calls, lines = parameters["calls"], parameters["lines"]
        inside(setup.model, lambda: Replaced(calls, lines, instead))
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The operands at the line."""
        p = fix.parameters
        for line in p["lines"]:
            found = source.calls_at(line, p["calls"])
            if found:
                file, call = found[-1]
                on_tensor = isinstance(call.func, ast.Attribute) and len(call.args) == 1
                operands = [call.func.value, call.args[0]] if on_tensor else call.args[:2]  # type: ignore[attr-defined]
                whole: ast.AST = call
            else:
                products = [
                    (f, n)
                    for f, n in source.nodes_at(line, ast.BinOp)
                    if isinstance(n.op, ast.MatMult)
                ]
                if len(products) != 1:
                    raise NotInSourceError(f"there is not one product at {line}")
                file, whole = products[0]
                operands = [whole.left, whole.right]  # type: ignore[attr-defined]
            normalize = f"{source.alias('torch.nn.functional', file)}.normalize"
            queries = f"{normalize}({file.code(operands[0])}, dim=-1)"
            keys = f"{normalize}({file.code(operands[1])}, dim=-2)"
            file.replace(whole, f"({p['factor']:g} * {queries} @ {keys})")


def product_before(snapshot: Snapshot, op: Op) -> tuple[Op | None, int]:
    """The product of queries and keys that a softmax reads, and their width; (None, 0) if none."""
    for _ in range(_BETWEEN):
        if not op.sources:
            return None, 0
        op = snapshot.ops[op.sources[0]]
        if op.name in _PRODUCTS:
            if op.inputs is not None:
                return op, int(op.inputs.shape[-1])
            # The queries: made by a layer, or a view of what one made.
            source = op
            for _ in range(_BETWEEN):
                if not source.sources:
                    break
                source = snapshot.ops[source.sources[0]]
                if source.output is not None:
                    return op, int(source.output.shape[-1])
            return op, 0
    return None, 0
