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
from isograd.records import Op, Snapshot


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
        found = [(op, *product_before(case.snapshot, op)) for op in hit]
        for op, product, width in found:
            if product is None or width < 2:
                continue
            factor = 1 / math.sqrt(width) / (_scale_now(case.snapshot, op, product) or 1.0)
            if factor < 0.7:
                factors.insert(0, float(f"{factor:.4g}"))
            break
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


def _scale_now(snapshot: Snapshot, softmax: Op, product: Op) -> float | None:
    """By what the product is multiplied on its way to the softmax; None if it was not measured."""
    before = snapshot.ops[softmax.sources[0]].output if softmax.sources else None
    made = product.output
    if before is None or made is None or not made.rms > 0 or before.nonfinite:
        return None
    ratio = before.rms / made.rms
    return ratio if math.isfinite(ratio) and ratio > 0 else None
