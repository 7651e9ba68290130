"""Backward from the loss, not from its negative."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from isograd.fixes.calls import Replaced
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.optimizer import loop
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError, called
from isograd.fixes.rewind import Rewind
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix


@register
class BackwardSign(Kind):
    """`(-loss).backward()` becomes `loss.backward()`."""

    name = "backward-sign"
    cures = frozenset(("G405", "loss-head", "optimizer-state"))
    part = "step"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where the user's loop goes backward from a negated tensor; it runs once on a copy."""
        setup = case.setup
        if setup.train_step is None or setup.optimizer is None:
            return
        negated: list[bool] = []

        def note(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            node = getattr(args[0], "grad_fn", None)
            negated.append(type(node).__name__.startswith("Neg"))
            return func(*args, **kwargs)

        rewind, twin = Rewind(setup.step, setup.train_step), setup.copied()
        try:
            with Replaced(("backward",), (), note):
                setup.train_step(twin.model, twin.optimizer)  # type: ignore[arg-type]
        except Exception:  # what cannot run here is no candidate
            return
        finally:
            rewind.restore()
        if any(negated):
            yield Proposal(
                "go backward from the loss, not from its negative",
                snippet="loss.backward()\n",
                undo="Put the sign back.",
                weight=0.3,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Negate once more what is negated."""
        train_step = setup.train_step
        if train_step is None:
            return setup

        def backward(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            loss = args[0]
            if isinstance(loss, Tensor) and type(loss.grad_fn).__name__.startswith("Neg"):
                loss = -loss
            return func(loss, *args[1:], **kwargs)

        def whole(model: Any, optimizer: Any) -> Any:
            with Replaced(("backward",), (), backward):
                return train_step(model, optimizer)

        setup.train_step = whole
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The minus in front of the loss."""
        file, function = loop(source)
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and called(node) == "backward":
                assert isinstance(node.func, ast.Attribute)
                value = node.func.value
                if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
                    file.replace(node.func, f"{file.code(value.operand)}.backward")
                    return
        raise NotInSourceError("no negated loss was found in the loop")
