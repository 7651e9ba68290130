"""Fixes that set one argument of the optimizer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from isograd.fixes.kind import Case, Kind, Proposal
from isograd.fixes.patches.optimizer import constructor
from isograd.fixes.patches.source import Source
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix


class Setting(Kind):
    """One setting of every parameter group.

    Attributes:
        key: Its name in a group and in the constructor.
    """

    key: ClassVar[str]
    part = "optimizer"

    def values(self, case: Case) -> Iterator[tuple[Any, str]]:
        """Values worth a trial, each with a title."""
        raise NotImplementedError

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """One for each value."""
        optimizer = case.setup.optimizer
        if optimizer is None or not any(self.key in g for g in optimizer.param_groups):
            return
        for value, title in self.values(case):
            yield Proposal(
                title,
                {"value": value},
                snippet=f"for group in optimizer.param_groups:\n"
                f'    group["{self.key}"] = {_text(value)}\n',
                undo=f"Put {self.key} back.",
                weight=0.4,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Set it in every group."""
        for group in setup.optimizer.param_groups if setup.optimizer else ():
            if self.key in group:
                now = group[self.key]
                value = parameters["value"]
                group[self.key] = tuple(value) if isinstance(now, tuple) else value
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The keyword of the optimizer's constructor."""
        value = fix.parameters["value"]
        text = _text(value)
        file, call = constructor(source)
        names = source.sites.arguments
        place = names.index(self.key) if self.key in names else None
        file.set_argument(call, self.key, text, place)


def _text(value: Any) -> str:
    """A setting as source; betas are a tuple."""
    return repr(tuple(value) if isinstance(value, list) else value)
