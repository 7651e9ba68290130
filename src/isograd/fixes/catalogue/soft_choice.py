"""A weighted sum in the place of a hard choice."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from isograd.fixes.calls import Replaced, name_of, where_made
from isograd.fixes.expressions import call_of, named, subject
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError, assigned_names, called
from isograd.fixes.patches.text import File
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

# What hands an index on as it is.
_SAME = frozenset(("long", "int", "to", "detach", "contiguous"))


@register
class SoftChoice(Kind):
    """`one_hot(argmax(z))` and `table[argmax(z)]` become softmax weights, or have their gradient.

    Soft: every choice takes part with its probability, forward and backward. Straight through:
    forward the choice, backward the probabilities. Scores that are probabilities stay as they are.
    """

    name = "soft-choice"
    cures = frozenset(("non-differentiable", "G501", "graph-cut", "G105"))
    part = "step"
    reference = "Bengio et al. (2013); Jang et al. (2017)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """For each argmax that ends a needed path."""
        cuts = [cut.split(" at ") for cut in case.snapshot.cuts]
        lines = [c[1] for c in cuts if len(c) == 2 and c[0] == "argmax"]
        if not lines:
            return
        own = [line for line in lines if line == case.finding.source] or lines
        for hard in (False, True):
            yield Proposal(
                "softmax weights instead of the choice by argmax"
                if not hard
                else "the choice by argmax with the gradient of its softmax",
                {"lines": sorted(set(own)), "hard": hard},
                snippet="weights = scores.softmax(-1)\n"
                + ("weights = one_hot + weights - weights.detach()\n" if hard else ""),
                undo="Choose by argmax again.",
                weight=0.7 + 0.2 * hard,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Remember the scores behind each index, and use them where the index selects."""
        lines, hard = parameters["lines"], parameters["hard"]
        return where_made(setup, lambda: _Weighted(lines, hard), ("argmax",))

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The one-hot vector, or the look-up."""
        for line in fix.parameters["lines"]:
            file, choice = call_of(source, line, ("argmax",))
            use = _use(file, choice)
            scores, _ = subject(file, choice)
            first, again = named(scores) if fix.parameters["hard"] else (scores, scores)
            soft = again if _probabilities(file, choice, scores) else f"{again}.softmax(-1)"
            soft = soft if soft.isidentifier() or not soft == scores else f"({soft})"
            is_one_hot = isinstance(use, ast.Call) and called(use) == "one_hot"
            if fix.parameters["hard"]:
                if not is_one_hot:
                    raise NotInSourceError("the look-up has no one-hot vector to keep")
                text = file.code(use).replace(scores, first, 1)
                file.replace(use, f"({text}.float() + {soft} - {soft}.detach())")
                return
            if is_one_hot:
                file.replace(use, soft)
            elif isinstance(use, ast.Call):
                file.replace(use, f"({soft} @ {file.code(use.func)}.weight)")
            else:
                assert isinstance(use, ast.Subscript)
                file.replace(use, f"({soft} @ {file.code(use.value)})")


def _use(file: File, choice: ast.Call) -> ast.Call | ast.Subscript:
    """What selects with an index: itself around the call, or by a name that keeps it."""
    statement = file.statement(choice)
    kept = assigned_names(statement)
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Call) and node.args:
            index: ast.AST = node.args[0]
        elif isinstance(node, ast.Subscript):
            index = node.slice
        else:
            continue
        if index is choice:
            return node
        if isinstance(index, ast.Name) and index.id in kept and node.lineno > statement.lineno:
            return node
    raise NotInSourceError("what the index selects was not found")


def _probabilities(file: File, choice: ast.Call, scores: str) -> bool:
    """True if the scores are written as the outcome of a softmax."""
    if "softmax" in scores:
        return True
    before = [
        node
        for node in ast.walk(file.tree)
        if isinstance(node, ast.Assign)
        and scores in assigned_names(node)
        and node.lineno <= choice.lineno
    ]
    return bool(before) and "softmax" in file.code(before[-1].value)


class _Weighted(Replaced):
    """Knows which index came from which scores."""

    def __init__(self, lines: list[str], hard: bool) -> None:
        super().__init__(("argmax",), lines, self._chosen)
        self._hard = hard
        self._known: list[tuple[Tensor, Tensor]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the call, or what stands for it."""
        name, kwargs = name_of(func), kwargs or {}
        if name in _SAME and args and (soft := self._of(args[0])) is not None:
            out = func(*args, **kwargs)
            self._known.append((out, soft))
            return out
        if name == "one_hot" and args and (soft := self._of(args[0])) is not None:
            if not self._hard:
                return soft
            return func(*args, **kwargs).to(soft.dtype) + soft - soft.detach()
        if name in ("embedding", "__getitem__") and len(args) > 1:
            soft = self._of(args[0] if name == "embedding" else args[1])
            table = args[1] if name == "embedding" else args[0]
            if soft is not None and isinstance(table, Tensor) and len(table) == soft.shape[-1]:
                mixed = torch.tensordot(soft, table, 1)
                return mixed if not self._hard else func(*args, **kwargs) + mixed - mixed.detach()
        return super().__torch_function__(func, types, args, kwargs)

    def _of(self, index: Any) -> Tensor | None:
        return next((soft for known, soft in self._known if known is index), None)

    def _chosen(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        index = func(*args, **kwargs)
        scores = args[0] if args else kwargs.get("input")
        axis = args[1] if len(args) > 1 else kwargs.get("dim")
        if isinstance(scores, Tensor) and scores.is_floating_point() and isinstance(axis, int):
            self._known.append((index, _distribution(scores.movedim(axis, -1))))
        return index


def _distribution(scores: Tensor) -> Tensor:
    """Probabilities over the last axis: the scores, if they are some, or else their softmax."""
    with torch.no_grad():
        sums = scores.float().sum(-1)
        is_one = float(scores.min()) >= 0 and bool(((sums - 1).abs() < 1e-3).all())
    return scores if is_one else scores.softmax(-1)
