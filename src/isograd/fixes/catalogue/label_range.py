"""Labels of yes and no as 1 and 0."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from isograd.fixes.calls import Replaced, around
from isograd.fixes.expressions import call_of, wrapped
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_NAMES = ("binary_cross_entropy", "binary_cross_entropy_with_logits")


@register
class LabelRange(Kind):
    """A cross-entropy of yes and no has a minimum only for targets from 0 to 1."""

    name = "label-range"
    cures = frozenset(("G406", "labels"))
    part = "step"
    redefines = True
    reference = "Bishop (1995), section 6.7"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where the targets take two values, one of them outside."""
        for call in case.snapshot.losses:
            spread = call.target
            if call.name not in _NAMES or spread is None or spread.distinct != 2:
                continue
            if spread.low < 0 or spread.high > 1:
                low, high = spread.low, spread.high
                yield Proposal(
                    f"labels {low:g} and {high:g} as 0 and 1",
                    {"line": call.source, "low": low, "high": high},
                    snippet=f"labels = (labels - {low:g}) / {high - low:g}\n",
                    undo="Take the labels as they are.",
                    weight=0.3,
                )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Rescale the targets of the call."""
        low, high = parameters["low"], parameters["high"]

        def instead(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if len(args) > 1 and isinstance(args[1], Tensor):
                args = (args[0], (args[1] - low) / (high - low), *args[2:])
            elif isinstance(kwargs.get("target"), Tensor):
                kwargs = {**kwargs, "target": (kwargs["target"] - low) / (high - low)}
            return func(*args, **kwargs)

        return around(setup, lambda: Replaced(_NAMES, [parameters["line"]], instead))

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The second argument of the call."""
        p = fix.parameters
        file, call = call_of(source, p["line"], _NAMES)
        targets = [k.value for k in call.keywords if k.arg == "target"] or call.args[1:2]
        if not targets:
            raise NotInSourceError(f"the labels are not written at {p['line']}")
        text = f"{wrapped(file.code(targets[0]))} - {p['low']:g}"
        width = p["high"] - p["low"]
        file.replace(targets[0], text if width == 1 else f"({text}) / {width:g}")
