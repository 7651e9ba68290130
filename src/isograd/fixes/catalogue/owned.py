"""Hand the model's own parameters to the optimizer, all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.optimizer import constructor
from isograd.fixes.patches.source import NotInSourceError, Source, keyword
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_SNIPPET = "optimizer = ...(model.parameters(), ...)  # built last, over all parameters\n"


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
        yield Proposal(title, snippet=_SNIPPET, undo="Move the line back.", weight=0.3)

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
        call = constructor(source)
        file = source.entry
        statement = file.statement(call)
        if source.model_name is None or source.optimizer_name is None:
            raise NotInSourceError("the target does not return the names of model and optimizer")
        given = keyword(call, "params")
        first = given.value if given is not None else call.args[0]
        start, end = file.span(call)
        a, b = file.span(first)
        text = file.text[start:a] + f"{source.model_name}.parameters()" + file.text[b:end]
        if "lr" not in text[a - start :]:
            rates = [g for g in _rates(file.code(first))]
            if rates:
                text = text[:-1].rstrip().rstrip(",") + f", lr={max(rates):g})"
        if not any(statement is s for s in source.target.body):
            raise NotInSourceError("the optimizer is not built in the target itself")
        file.insert(source.return_statement(), None, f"{source.optimizer_name} = {text}\n")
        begin = file.offset(statement.lineno, 0)
        line = (statement.end_lineno or statement.lineno) + 1
        file.edits.append((begin, file.offset(line, 0), ""))


def _rates(text: str) -> Iterator[float]:
    import re

    for match in re.finditer(r"[\"']lr[\"']\s*:\s*([0-9.eE+-]+)", text):
        yield float(match[1])
