"""A `GradScaler` with the settings it is made with by default."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import torch

from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError
from isograd.fixes.rewind import reachable
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

# Attribute, argument, default.
_SETTINGS = (
    ("_init_scale", "init_scale", 65536.0),
    ("_growth_factor", "growth_factor", 2.0),
    ("_backoff_factor", "backoff_factor", 0.5),
    ("_growth_interval", "growth_interval", 2000),
)


@register
class Scaler(Kind):
    """Scale 2**16 at first, halved where a gradient overflows, doubled after 2000 good steps."""

    name = "scaler-settings"
    cures = frozenset(("G602", "G604", "precision"))
    part = "step"
    reference = "Micikevicius et al. (2018)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where the loop has a scaler with other ones."""
        off = sorted(
            {
                argument
                for scaler in _scalers(case.setup)
                for attribute, argument, default in _SETTINGS
                if scaler.get(attribute) != default
            }
        )
        if off:
            yield Proposal(
                "GradScaler with its default " + ", ".join(off),
                {"arguments": off},
                snippet="scaler = torch.amp.GradScaler(device)\n",
                undo="Put the arguments back.",
                weight=0.4,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Set them before the first iteration of a training."""
        train_step = setup.train_step
        if train_step is None:
            return setup
        started: list[bool] = []

        def whole(model: Any, optimizer: Any) -> Any:
            if not started:
                started.append(True)
                for scaler in _scalers(setup):
                    _reset(scaler)
            return train_step(model, optimizer)

        setup.train_step = whole
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The arguments of the constructor."""
        names, done = set(fix.parameters["arguments"]), False
        for call in source.calls(("GradScaler",)):
            file = source.file_of(call)
            for given in call.keywords:
                default = next((d for _, a, d in _SETTINGS if a == given.arg), None)
                if given.arg in names and isinstance(given.value, ast.expr):
                    file.replace(given.value, f"{default}")
                    done = True
        if not done:
            raise NotInSourceError("the settings of the scaler were not found")


def _scalers(setup: Setup) -> Iterator[dict[str, Any]]:
    """Variables of each scaler that the user's loop reaches."""
    for thing in reachable(setup.train_step):
        if isinstance(thing, dict) and {a for a, _, _ in _SETTINGS} <= thing.keys():
            yield thing


def _reset(scaler: dict[str, Any]) -> None:
    scaler.update({attribute: default for attribute, _, default in _SETTINGS})
    if isinstance(scaler.get("_scale"), torch.Tensor):
        scaler["_scale"] = torch.full_like(scaler["_scale"], scaler["_init_scale"])
