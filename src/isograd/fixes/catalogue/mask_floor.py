"""Masks that leave no row of a softmax without a key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from isograd.fixes.before_softmax import BeforeSoftmax, lines_of, softmaxes
from isograd.fixes.expressions import wrapped
from isograd.fixes.kind import Case, Proposal, register


@register
class MaskFloor(BeforeSoftmax):
    """-inf becomes the lowest finite number: a row that is masked as a whole is uniform, not NaN.

    Other rows stay as they are: exp of the difference is 0 either way.
    """

    name = "mask-floor"
    cures = frozenset(("G601", "G106", "numerics", "attention-scale"))
    reference = "Vaswani et al. (2017), section 3.2.3"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where minus infinity reaches a softmax whose output or gradient is not finite."""
        ops = case.snapshot.ops
        masked = any(op.inputs is not None and op.inputs.nonfinite for op in ops)
        hit = softmaxes(case) or [op for op in ops if op.name == "softmax" and op.source]
        broken = [
            op
            for op in hit
            if op.grad_nonfinite
            or (op.output is not None and op.output.nonfinite)
            or (op.attention is not None and op.attention.sampled_rows == 0)
        ]
        if broken and (masked or case.finding.code in ("G601", "G106")):
            yield Proposal(
                "masked logits at the lowest finite number, not at -inf",
                {"lines": lines_of(broken)},
                undo="Remove clamp.",
                weight=0.4,
            )

    def value(self, logits: Tensor, parameters: dict[str, Any]) -> Tensor:
        """Clamped."""
        return logits.clamp_min(torch.finfo(logits.dtype).min)

    def text(self, logits: str, parameters: dict[str, Any], torch_name: str) -> str:
        """Clamped; float32's lowest number is finite in float64 too."""
        return f"{wrapped(logits)}.clamp_min({torch_name}.finfo({torch_name}.float32).min)"
