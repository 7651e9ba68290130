"""Fixes that change what enters a softmax over keys."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from isograd.fixes.calls import Replaced, inside
from isograd.fixes.expressions import call_of, subject
from isograd.fixes.kind import Case, Kind
from isograd.fixes.patches.source import Source
from isograd.fixes.setup import Setup
from isograd.records import Finding, Op
from isograd.records.fix import Fix

NAMES = ("softmax", "_softmax", "softmax_")


class BeforeSoftmax(Kind):
    """Logits become a function of them, at the lines where the softmax is called."""

    special: ClassVar[bool] = False

    def value(self, logits: Tensor, parameters: dict[str, Any]) -> Tensor:
        """The new logits."""
        raise NotImplementedError

    def text(self, logits: str, parameters: dict[str, Any], torch_name: str) -> str:
        """The same as source; `logits` is an expression, written once."""
        raise NotImplementedError

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Change the first argument of the call."""

        def instead(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if args and isinstance(args[0], torch.Tensor):
                return func(self.value(args[0], parameters), *args[1:], **kwargs)
            if isinstance(kwargs.get("input"), torch.Tensor):
                kwargs = {**kwargs, "input": self.value(kwargs["input"], parameters)}
            return func(*args, **kwargs)

        lines = parameters["lines"]
        inside(setup.model, lambda: Replaced(NAMES, lines, instead))
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The argument of the softmax."""
        for line in fix.parameters["lines"]:
            file, call = call_of(source, line, NAMES)
            text, method = subject(file, call)
            new = self.text(text, fix.parameters, source.alias("torch", file))
            if method:
                file.replace(call.func.value, f"({new})")  # type: ignore[attr-defined]
            else:
                file.replace(call.args[0], new)


def softmaxes(case: Case) -> list[Op]:
    """Softmax ops over keys whose line is known."""
    return [
        op
        for op in case.snapshot.ops
        if op.attention is not None and op.name in NAMES and op.source is not None
    ]


def lines_of(ops: list[Op]) -> list[str]:
    """Their lines."""
    return sorted({op.source for op in ops if op.source is not None})
