"""Momentum that forgets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isograd.fixes.kind import Case, register
from isograd.fixes.settings import Setting

_LONG = 0.95


@register
class Momentum(Setting):
    """SGD's momentum at 0.9."""

    name = "momentum"
    key = "momentum"
    cures = frozenset(("G306", "optimizer-state", "learning-rate"))
    reference = "Sutskever et al. (2013)"

    def values(self, case: Case) -> Iterator[tuple[Any, str]]:
        """The usual value, where it is above, and none."""
        assert case.setup.optimizer is not None
        if any(g[self.key] > _LONG for g in case.setup.optimizer.param_groups if self.key in g):
            yield 0.9, "momentum 0.9"
            yield 0.0, "no momentum"
