"""Attention logits of unit size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from isograd.fixes.before_softmax import BeforeSoftmax, lines_of, softmaxes
from isograd.fixes.catalogue.qk_norm import product_before
from isograd.fixes.expressions import wrapped
from isograd.fixes.kind import Case, Proposal, register


@register
class AttentionScale(BeforeSoftmax):
    """The logits of a softmax over keys times a factor."""

    name = "attention-scale"
    cures = frozenset(("G106", "attention-scale"))
    reference = "Vaswani et al. (2017)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """1/sqrt(d) of the head; and so that the largest logit is about 3, and a tenth of it."""
        hit = softmaxes(case)
        lines = lines_of(hit)
        largest = max((op.attention.logit_max for op in hit if op.attention), default=0.0)
        if not lines or largest <= 0:
            return
        factors = [float(f"{wanted / largest:.2g}") for wanted in (3.0, 0.3)]
        width = next((d for d in (product_before(case.snapshot, op)[1] for op in hit) if d), 0)
        if width > 1 and largest > math.sqrt(width):
            factors.insert(0, float(f"{1 / math.sqrt(width):.4g}"))
        for factor in dict.fromkeys(factors):
            yield Proposal(
                f"attention logits times {factor:g}",
                {"factor": factor, "lines": lines},
                undo="Remove the factor.",
                weight=0.7,
            )

    def value(self, logits: Tensor, parameters: dict[str, Any]) -> Tensor:
        """Scaled."""
        return logits * parameters["factor"]

    def text(self, logits: str, parameters: dict[str, Any], torch_name: str) -> str:
        """Scaled."""
        return f"{parameters['factor']:g} * {wrapped(logits)}"
