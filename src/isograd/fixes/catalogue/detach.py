"""Let the gradient through where it was cut."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from isograd.fixes.calls import Replaced, around
from isograd.fixes.expressions import wrapped
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError
from isograd.fixes.patches.text import File
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_CUTS = ("detach", "detach_", "data")


@register
class Detach(Kind):
    """`detach` and `.data` do nothing at the lines that cut a needed path."""

    name = "detach"
    cures = frozenset(("G501", "G503", "graph-cut", "G105"))
    part = "step"
    reference = "Williams and Peng (1990), on truncated paths"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Cuts at the finding's line first, then all of them."""
        cuts = [cut.split(" at ") for cut in case.snapshot.cuts]
        lines = [line for name, line in (c for c in cuts if len(c) == 2) if name in _CUTS]
        if not lines:
            return
        own = [line for line in lines if line == case.finding.source]
        for chosen in dict.fromkeys((tuple(own or lines), tuple(lines))):
            yield Proposal(
                "keep the graph: no detach" + (f" at {chosen[0]}" if len(chosen) == 1 else ""),
                {"lines": sorted(set(chosen))},
                undo="Put detach back.",
                weight=0.4,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Hand on what would be detached."""

        def keep(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            first = args[0] if args else None
            return first if isinstance(first, Tensor) else func(*args, **kwargs)

        lines = parameters["lines"]
        return around(setup, lambda: Replaced(_CUTS, lines, keep))

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """Take the calls out."""
        done = 0
        for line in fix.parameters["lines"]:
            for file, call in source.calls_at(line, ("detach", "detach_")):
                if isinstance(call.func, ast.Attribute):
                    _drop(file, call, call.func.value)
                    done += 1
            for file, node in source.nodes_at(line, ast.Attribute):
                if node.attr == "data":  # type: ignore[attr-defined]
                    _drop(file, node, node.value)  # type: ignore[attr-defined]
                    done += 1
        if not done:
            raise NotInSourceError("no detach was found at the recorded line")


def _drop(file: File, whole: ast.AST, inner: ast.expr) -> None:
    file.replace(whole, wrapped(file.code(inner)))


@register
class Grad(Kind):
    """The layers that got no gradient run with gradients on."""

    name = "enable-grad"
    cures = frozenset(("G501", "graph-cut"))
    part = "model"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where a layer ran under `no_grad`, or under a reentrant checkpoint."""
        reasons = {
            p.missing.reason
            for name, p in case.snapshot.parameters.items()
            if p.missing is not None and name in case.finding.where
        }
        if reasons & {"no-grad", "reentrant checkpoint", "detached"}:
            roots = sorted({name.split(".")[0] for name in case.finding.where})
            yield Proposal(
                "run " + ", ".join(roots) + " with gradients on",
                {"roots": roots},
                undo="Put it back.",
                weight=0.4,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Hooks that switch gradients on, and inputs that ask for them."""
        setup.model.register_forward_pre_hook(_asking)
        for root in parameters["roots"]:
            module = setup.model.get_submodule(root)
            switch = _Switch()
            module.register_forward_pre_hook(switch.on)
            module.register_forward_hook(switch.off, always_call=True)
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """`no_grad` and `use_reentrant` in the file."""
        file, line = source.at(finding.source)
        done = 0
        for call in source.calls(("checkpoint",), file.tree):
            for argument in call.keywords:
                if argument.arg == "use_reentrant":
                    file.replace(argument.value, "False")
                    done += 1
        functions = [
            f
            for f in ast.walk(file.tree)
            if isinstance(f, ast.FunctionDef) and f.lineno <= line <= (f.end_lineno or 0)
        ]
        for call in source.calls(
            ("no_grad", "inference_mode"), functions[-1] if functions else None
        ):
            prefix = file.code(call.func).rpartition(".")[0]
            file.replace(call, f"{prefix}.enable_grad()" if prefix else "torch.enable_grad()")
            done += 1
        if not done:
            raise NotInSourceError("neither no_grad nor a checkpoint was found")


def _asking(_: Any, args: tuple[Any, ...]) -> Any:
    return tuple(
        a.detach().requires_grad_(True) if isinstance(a, Tensor) and a.is_floating_point() else a
        for a in args
    )


class _Switch:
    def __init__(self) -> None:
        self._before: list[bool] = []

    def on(self, *_: Any) -> None:
        self._before.append(torch.is_grad_enabled())
        torch.set_grad_enabled(True)

    def off(self, *_: Any) -> None:
        torch.set_grad_enabled(self._before.pop())
