"""Weaker weight decay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isograd.fixes.kind import Case, register
from isograd.fixes.settings import Setting


@register
class WeightDecay(Setting):
    """The optimizer's weight decay, smaller or none."""

    name = "weight-decay"
    key = "weight_decay"
    cures = frozenset(("G309", "weight-decay", "regularization"))
    reference = "Krogh and Hertz (1991); Loshchilov and Hutter (2019)"

    def values(self, case: Case) -> Iterator[tuple[Any, str]]:
        """None, and one that is in common use."""
        assert case.setup.optimizer is not None
        now = max((g.get(self.key) or 0.0 for g in case.setup.optimizer.param_groups), default=0.0)
        if now > 0:
            yield 0.0, "no weight decay"
        if now > 1e-4:
            yield 1e-4, "weight decay 0.0001"
