"""Hand the model's own parameters to the optimizer, all of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.optimizer import constructor
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import assigned_names, keyword
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix


@register
class Owned(Kind):
    """One list with all trainable parameters of the model, at the rate of the first group."""

    name = "owned-parameters"
    cures = frozenset(("G302", "optimizer-state"))
    part = "optimizer"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where parameters are missing, foreign, or at rate 0."""
        facts = case.training.optimizer if case.training is not None else None
        if facts is None or not (facts.not_owned or facts.foreign or facts.frozen_rate):
            return
        title = "give the optimizer all parameters of the model"
        yield Proposal(
            title, snippet=_lines("model", "optimizer"), undo="Move the line back.", weight=0.3
        )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Keep the settings, change who is held."""
        optimizer = setup.optimizer
        if optimizer is None:
            raise ValueError("there is no optimizer")
        groups = optimizer.param_groups
        own = {id(p): p for p in setup.model.parameters() if p.requires_grad}
        best = max(groups, key=lambda g: g["lr"])
        held: set[int] = set()
        for group in groups:
            group["params"] = [p for p in group["params"] if id(p) in own]
            held |= {id(p) for p in group["params"]}
            if group["lr"] == 0:
                group["lr"] = best["lr"]
        best["params"] = [*best["params"], *(p for i, p in own.items() if i not in held)]
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """Build it over `model.parameters()` as the last thing before the return."""
        file, call = constructor(source)
        model, optimizer = source.name("model"), source.name("optimizer")
        given = keyword(call, "params")
        first = given.value if given is not None else call.args[0]
        start, end = file.span(call)
        a, b = file.span(first)
        text = file.text[start:a] + f"{model}.parameters()" + file.text[b:end]
        if "lr" not in text[a - start :]:
            rates = list(_rates(file.code(first)))
            if rates:
                text = text[:-1].rstrip().rstrip(",") + f", lr={max(rates):g})"
        statement = file.statement(call)
        body = source.target.function.body
        if statement not in body or assigned_names(statement) != [optimizer]:
            # Built elsewhere: the same optimizer is handed what it lacks.
            source.before_return(_lines(model, optimizer))
            return
        later = body[body.index(statement) + 1 : -1]
        names = [n.id for s in later for n in ast.walk(s) if isinstance(n, ast.Name)]
        if optimizer in names:
            source.before_return(_lines(model, optimizer))  # a schedule holds it already
            return
        source.before_return(" " * statement.col_offset + f"{optimizer} = {text}\n")
        file.remove_lines(statement)


def _lines(model: str, optimizer: str) -> str:
    """Lines that hand over all parameters, at the settings of the group with the largest rate."""
    return (
        f'best = max({optimizer}.param_groups, key=lambda group: group["lr"])\n'
        f"own = [p for p in {model}.parameters() if p.requires_grad]\n"
        f'{optimizer}.param_groups[:] = [{{**best, "params": own}}]\n'
    )


def _rates(text: str) -> Iterator[float]:
    for match in re.finditer(r"[\"']lr[\"']\s*:\s*([0-9.eE+-]+)", text):
        yield float(match[1])
