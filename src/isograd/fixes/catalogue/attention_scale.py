"""Attention logits of unit size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from isograd.fixes.calls import Replaced, inside
from isograd.fixes.expressions import call_of, subject, wrapped
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_NAMES = ("softmax", "_softmax", "softmax_")


@register
class AttentionScale(Kind):
    """The logits of a softmax over keys times a factor."""

    name = "attention-scale"
    cures = frozenset(("G106", "attention-scale"))
    reference = "Vaswani et al. (2017)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """So that the largest logit is about 3, and a tenth of that."""
        hit = [op for op in case.snapshot.ops if op.attention is not None and op.name in _NAMES]
        lines = sorted({op.source for op in hit if op.source is not None})
        largest = max((op.attention.logit_max for op in hit if op.attention), default=0.0)
        if not lines or largest <= 0:
            return
        for wanted in (3.0, 0.3):
            factor = float(f"{wanted / largest:.2g}")
            yield Proposal(
                f"attention logits times {factor:g}",
                {"factor": factor, "lines": lines},
                snippet=f"logits = {factor:g} * logits  # before the softmax\n",
                undo="Remove the factor.",
                weight=0.7,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Scale what enters the softmax."""
        factor, lines = parameters["factor"], parameters["lines"]

        def instead(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if args and isinstance(args[0], torch.Tensor):
                return func(args[0] * factor, *args[1:], **kwargs)
            return func(*args, **kwargs)

        inside(setup.model, lambda: Replaced(_NAMES, lines, instead))
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The argument of the softmax."""
        factor = fix.parameters["factor"]
        for line in fix.parameters["lines"]:
            file, call = call_of(source, line, _NAMES)
            text, method = subject(file, call)
            scaled = f"{factor:g} * {wrapped(text)}"
            if method:
                file.replace(call.func.value, f"({scaled})")  # type: ignore[attr-defined]
            else:
                file.replace(call.args[0], scaled)
