"""Let frozen weights learn."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.optimizer import constructor
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import called
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix


@register
class Thaw(Kind):
    """`requires_grad` on for every parameter, and all of them in the optimizer."""

    name = "thaw"
    cures = frozenset(("G502", "frozen"))
    part = "optimizer"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where something is frozen."""
        if any(
            not p.requires_grad and p.is_floating_point() for p in case.setup.model.parameters()
        ):
            yield Proposal(
                "train what is frozen",
                snippet="model.requires_grad_(True)  # before the optimizer is built\n",
                undo="Freeze it again.",
                weight=0.4,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Thaw all and hand it to the optimizer."""
        frozen = [
            p for p in setup.model.parameters() if not p.requires_grad and p.is_floating_point()
        ]
        for parameter in frozen:
            parameter.requires_grad_(True)
        setup.own(frozen)
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """A line in front of the optimizer's."""
        if _unfrozen(source):
            return
        line = f"{source.name('model')}.requires_grad_(True)\n"
        file, call = constructor(source)
        statement = file.statement(call)
        if statement in source.target.function.body:
            file.insert(statement, None, line)
        else:
            source.before_return(line)


def _unfrozen(source: Source) -> bool:
    """Turn every False that freezes into True; False if there is none."""
    done = False
    for file in source.files:
        for node in ast.walk(file.tree):
            value: ast.expr | None = None
            if isinstance(node, ast.Assign) and len(node.targets) == 1:
                target = node.targets[0]
                if isinstance(target, ast.Attribute) and target.attr == "requires_grad":
                    value = node.value
            elif isinstance(node, ast.Call) and called(node) == "requires_grad_":
                value = node.args[0] if node.args else None
            if isinstance(value, ast.Constant) and value.value is False:
                file.replace(value, "True")
                done = True
    return done
