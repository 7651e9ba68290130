"""The eps beside the root of the squared gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isograd.fixes.kind import Case, register
from isograd.fixes.settings import Setting


@register
class Epsilon(Setting):
    """Adam's eps: small beside the gradients, and above 0 in float16."""

    name = "epsilon"
    key = "eps"
    cures = frozenset(("G311", "optimizer-state", "precision", "numerics", "learning-rate"))
    reference = "Kingma and Ba (2015)"

    def values(self, case: Case) -> Iterator[tuple[Any, str]]:
        """1e-8, or 1e-4 where the weights are float16."""
        assert case.setup.optimizer is not None
        now = [g[self.key] for g in case.setup.optimizer.param_groups if self.key in g]
        if case.snapshot.dtype == "float16":
            if min(now) < 1e-5:
                yield 1e-4, "eps 1e-4, which float16 can hold"
        elif max(now) > 1e-7:
            yield 1e-8, "eps 1e-8"
