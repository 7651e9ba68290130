"""Clip at a threshold that fits the gradients, or begin to clip."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median
from typing import Any

import torch
from torch import nn

from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches import loops
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError, called
from isograd.fixes.setup import Setup
from isograd.fixes.stepping import before_step
from isograd.records import Finding
from isograd.records.fix import Fix
from isograd.records.training import Training

_CALLS = ("clip_grad_norm_", "clip_grad_value_")


@register
class Clipping(Kind):
    """Norm of the whole gradient held below a multiple of its usual size."""

    name = "clipping"
    cures = frozenset(("G304", "clipping", "G102", "G301", "G702", "G308", "recurrence"))
    part = "step"
    reference = "Pascanu et al. (2013)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Another threshold where the loop clips; else a first one."""
        norms = raw_norms(case.training) if case.training is not None else []
        if case.finding.code == "G304" and case.setup.train_step is not None:
            usual = median(norms) if norms else 1.0
            for limit in dict.fromkeys(float(f"{v:.1g}") for v in (2 * usual, usual, 1.0)):
                yield Proposal(
                    f"clip the gradient at {limit:g}",
                    {"limit": limit, "add": False},
                    undo="Put the threshold back.",
                    weight=0.5,
                )
        elif case.finding.code != "G304" and case.setup.optimizer is not None:
            for limit in (1.0, 0.1):
                yield Proposal(
                    f"clip the norm of the gradient at {limit:g}",
                    {"limit": limit, "add": True},
                    snippet="# before optimizer.step():\n"
                    f"torch.nn.utils.clip_grad_norm_(model.parameters(), {limit:g})\n",
                    undo="Remove the line.",
                    weight=1.0,
                )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """A hook before the optimizer's step, or another limit inside the user's loop."""
        limit = parameters["limit"]
        if parameters["add"]:
            if setup.optimizer is None:
                raise ValueError("there is no optimizer")

            def clip(optimizer: Any) -> None:
                held = [p for g in optimizer.param_groups for p in g["params"]]
                nn.utils.clip_grad_norm_(held, limit)

            before_step(setup.optimizer, clip)
            return setup
        train_step = setup.train_step
        if train_step is None:
            return setup

        def whole(model: nn.Module, optimizer: torch.optim.Optimizer) -> Any:
            before = {name: getattr(nn.utils, name) for name in _CALLS}
            for name, function in before.items():
                setattr(nn.utils, name, _limited(function, limit))
            try:
                return train_step(model, optimizer)
            finally:
                for name, function in before.items():
                    setattr(nn.utils, name, function)

        setup.train_step = whole
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The argument of the call, or a new line before `optimizer.step()`."""
        limit = fix.parameters["limit"]
        if not fix.parameters["add"]:
            calls = source.calls(_CALLS)
            if len(calls) != 1:
                raise NotInSourceError("there is not one call that clips")
            name = "max_norm" if called(calls[0]) == "clip_grad_norm_" else "clip_value"
            source.file_of(calls[0]).set_argument(calls[0], name, f"{limit:g}", 1)
            return
        loops.before_step(
            source, f"{{nn}}.utils.clip_grad_norm_({{model}}.parameters(), {limit:g})\n"
        )


def _limited(function: Any, limit: float) -> Any:
    def limited(parameters: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("max_norm", None)
        kwargs.pop("clip_value", None)
        return function(parameters, limit, *args[1:], **kwargs)

    return limited


def raw_norms(training: Training) -> list[float]:
    """Norm of the whole gradient before clipping, at each step where it is finite."""
    seen = [
        math.hypot(*v)
        for v in zip(*(t.gradient for t in training.parameters.values()), strict=False)
    ]
    ratios = training.clip_ratio or (1.0,) * len(seen)
    raw = [s / r for s, r in zip(seen, ratios, strict=False) if r > 0]
    return [value for value in raw if math.isfinite(value) and value > 0]
