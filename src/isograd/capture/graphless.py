"""A loss from which nothing can be traced back: what is known of the model all the same.

`probe` raises, as there are no gradients to measure; `check` reports it as what it is, the fault
that keeps the model from learning.
"""

from __future__ import annotations

import math
import re
from typing import Any

from torch import Tensor, nn

from isograd.capture.missing import missing_reasons
from isograd.capture.tagger import Tagger
from isograd.capture.weights import parameter_stats
from isograd.errors import ModelError, StepError
from isograd.records.parameter import Missing
from isograd.records.snapshot import Snapshot

# Operators that write to their left side; other calls that write end in an underscore.
_WRITES = frozenset("__iadd__ __isub__ __imul__ __itruediv__ __setitem__ __ipow__".split())


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


def overwritten(model: nn.Module, loss: Tensor, tagger: Tagger, message: str) -> Snapshot:
    """The same where backward raises, as a write in place destroyed what it reads."""
    parameters: dict[str, Any] = dict(model.named_parameters())
    found = re.search(r"output \d+ of (\w+?)Backward", message)
    made = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", found[1]).lower() if found else ""
    writes = [d for d in tagger.drafts if d.name in _WRITES or re.fullmatch(r"[a-z]\w*_", d.name)]
    # The write that reads the op named, else the last one.
    direct = [d for d in writes if any(s.name.strip("_") == made for s in d.sources)]
    guilty = (direct or writes)[-1] if writes else None
    what = f"the output of `{made}`" if made else "a tensor"
    by = f" by `{guilty.name}`" if guilty is not None else ""
    line = guilty.place.source if guilty is not None else None
    lost = Missing("in-place", f"{what} is overwritten{by}, and backward needs it", line)
    missing = {
        name: lost if p.requires_grad else Missing("frozen", "requires_grad is False")
        for name, p in parameters.items()
    }
    value = float(loss.detach().real) if loss.numel() == 1 else math.nan
    return Snapshot(value, (), (), parameter_stats(parameters, missing, {}))
