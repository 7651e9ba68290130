"""A loss that nothing can be traced back from: what is known of the model all the same.

`probe` raises, as there are no gradients to measure; `check` reports it as what it is, the fault
that keeps the model from learning.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from isograd.capture.missing import missing_reasons
from isograd.capture.tagger import Tagger
from isograd.capture.weights import parameter_stats
from isograd.errors import ModelError, StepError
from isograd.records.parameter import Missing
from isograd.records.snapshot import Snapshot


class NoGraphError(StepError):
    """The loss has no graph.

    Args:
        what: As in `IsogradError`.
        snapshot: Loss and parameters, each with the reason why no gradient reaches it; None
            where the step was not watched.
        facts: As in `IsogradError`.
        causes: As in `IsogradError`.
    """

    def __init__(
        self,
        what: str,
        *,
        snapshot: Snapshot | None = None,
        facts: tuple[str, ...] = (),
        causes: tuple[str, ...] = (),
    ) -> None:
        self.snapshot = snapshot
        super().__init__(what, facts=facts, causes=causes)


class FrozenError(ModelError):
    """Every parameter is frozen.

    Args:
        what: As in `IsogradError`.
        snapshot: Every parameter with its flag.
        causes: As in `IsogradError`.
    """

    def __init__(self, what: str, *, snapshot: Snapshot, causes: tuple[str, ...] = ()) -> None:
        self.snapshot = snapshot
        super().__init__(what, causes=causes)


def without_graph(model: nn.Module, loss: Tensor, tagger: Tagger) -> Snapshot:
    """Loss and parameters after a forward pass whose loss has no graph."""
    parameters: dict[str, Any] = dict(model.named_parameters())
    missing = missing_reasons(tagger, set(), parameters)
    if tagger.cuts:
        # The path of a parameter that is used ends where the last call lets go of it.
        last = tagger.cuts[-1]
        name, line = last.name, last.place.source
        lost = Missing("detached", f"the loss has no graph: `{name}` ends it", line)
    else:
        lost = Missing("detached", "the loss has no graph")
    missing = {
        name: lost if reason.reason in ("unused", "not on the path") else reason
        for name, reason in missing.items()
    }
    cuts = tuple(dict.fromkeys(f"{c.name} at {c.place.source}" for c in tagger.cuts))
    value = float(loss.detach().real) if loss.numel() == 1 else math.nan
    return Snapshot(value, (), (), parameter_stats(parameters, missing, {}), cuts=cuts)
