"""Adam's running means at the lengths it was made with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isograd.fixes.kind import Case, register
from isograd.fixes.settings import Setting


@register
class Betas(Setting):
    """Betas 0.9 and 0.999."""

    name = "betas"
    key = "betas"
    cures = frozenset(("G306", "optimizer-state", "learning-rate"))
    reference = "Kingma and Ba (2015)"

    def values(self, case: Case) -> Iterator[tuple[Any, str]]:
        """The usual values, where the first is above 0.95."""
        assert case.setup.optimizer is not None
        if any(g["betas"][0] > 0.95 for g in case.setup.optimizer.param_groups if "betas" in g):
            yield [0.9, 0.999], "betas 0.9 and 0.999"
