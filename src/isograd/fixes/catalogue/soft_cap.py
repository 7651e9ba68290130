"""Attention logits that cannot grow beyond a cap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from isograd.fixes.before_softmax import BeforeSoftmax, lines_of, softmaxes
from isograd.fixes.expressions import wrapped
from isograd.fixes.kind import Case, Proposal, register

_CAPS = (30.0, 5.0)


@register
class SoftCap(BeforeSoftmax):
    """`cap * tanh(logits / cap)`: small logits stay, large ones level off."""

    name = "logit-soft-cap"
    cures = frozenset(("G106", "attention-scale"))
    special = True
    reference = "Gemma Team (2024)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where a logit is above the cap."""
        hit = softmaxes(case)
        largest = max((op.attention.logit_max for op in hit if op.attention), default=0.0)
        for cap in _CAPS:
            if largest > cap:
                yield Proposal(
                    f"attention logits capped at {cap:g} by a tanh",
                    {"cap": cap, "lines": lines_of(hit)},
                    undo="Remove the tanh.",
                    weight=0.8,
                )

    def value(self, logits: Tensor, parameters: dict[str, Any]) -> Tensor:
        """Capped."""
        cap = parameters["cap"]
        return cap * torch.tanh(logits / cap)

    def text(self, logits: str, parameters: dict[str, Any], torch_name: str) -> str:
        """Capped."""
        cap = f"{parameters['cap']:g}"
        return f"{cap} * {torch_name}.tanh({wrapped(logits)} / {cap})"
