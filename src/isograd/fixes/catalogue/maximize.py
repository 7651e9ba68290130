"""Go down, not up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isograd.fixes.kind import Case, register
from isograd.fixes.settings import Setting


@register
class Maximize(Setting):
    """`maximize=False`."""

    name = "maximize"
    key = "maximize"
    cures = frozenset(("G302", "optimizer-state", "G405", "loss-head"))

    def values(self, case: Case) -> Iterator[tuple[Any, str]]:
        """False, where a group ascends."""
        assert case.setup.optimizer is not None
        if any(g.get(self.key) for g in case.setup.optimizer.param_groups):
            yield False, "minimise the loss: maximize=False"
