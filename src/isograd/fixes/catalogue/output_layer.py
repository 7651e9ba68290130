"""Hand logits to a loss that wants logits: take the activation off the output."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from torch import nn

from isograd.fixes.calls import Replaced, around, inside
from isograd.fixes.expressions import subject
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.layers import put
from isograd.fixes.patches import modules
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError, called
from isograd.fixes.setup import Setup
from isograd.records import Finding, Op
from isograd.records.fix import Fix

_SQUASHES = (
    *("softmax", "log_softmax", "sigmoid", "relu", "tanh", "clamp", "softplus", "exp"),
    *("leaky_relu", "gelu", "elu", "hardtanh", "relu6", "logsigmoid"),
)
# These make an output too, but behind a difference they are the loss.
_EVEN = ("abs", "square", "pow")
_DIFFERENCES = ("sub", "__sub__", "rsub", "__rsub__", "subtract")


@register
class OutputLayer(Kind):
    """The last activation before the loss does nothing."""

    name = "output-activation"
    cures = frozenset(("G401", "G407", "loss-head", "loss-shape", "labels"))
    part = "step"
    redefines = True
    reference = "Bishop (1995), chapter 6"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where an activation stands between the last layer and the loss."""
        op = _last(case)
        if op is None:
            return
        module = dict(case.setup.model.named_modules()).get(op.module)
        single = module is not None and op.module and not list(module.children())
        single = single and not any(True for _ in module.parameters())  # type: ignore[union-attr]
        yield Proposal(
            f"no {op.name} in front of the loss",
            {
                "module": op.module if single else "",
                "class": type(module).__name__ if single else "",
                "call": op.name,
                "line": op.source,
                "inside": bool(op.module_type),
            },
            undo=f"Put {op.name} back.",
            weight=0.5,
        )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Replace the module, or skip the call."""
        if parameters["module"]:
            if not isinstance(setup.model.get_submodule(parameters["module"]), nn.Identity):
                put(setup.model, parameters["module"], nn.Identity())
            return setup

        def skip(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return args[0] if args else kwargs["input"]

        def make() -> Replaced:
            return Replaced([parameters["call"]], [parameters["line"]], skip)

        if parameters["inside"]:
            inside(setup.model, make)
            return setup
        return around(setup, make)

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The constructor, or the call."""
        p = fix.parameters
        if p["module"]:
            if not _left_out(source, p["module"]):
                modules.replaced(source, [p["module"]], p["class"], "Identity")
            return
        found = source.calls_at(p["line"], [p["call"]])
        if not found:
            raise NotInSourceError(f"no call of {p['call']} at {p['line']}")
        file, call = found[-1]
        text, _ = subject(file, call)
        parent = file.parents.get(call)
        bare = isinstance(parent, ast.Call | ast.Return | ast.Assign)
        file.replace(call, text if bare else f"({text})")


def _left_out(source: Source, path: str) -> bool:
    """Take the last argument of a `Sequential` out; False if it is none, or serves others too."""
    site = source.sites.modules.get(path)
    if site is None or sum(s == site for s in source.sites.modules.values()) > 1:
        return False
    try:
        file, call = source.call_at(site)
    except NotInSourceError:
        return False
    parent = file.parents.get(call)
    if not isinstance(parent, ast.Call) or called(parent) != "Sequential":
        return False
    if len(parent.args) < 2 or parent.args[-1] is not call:
        return False
    file.edit(file.span(parent.args[-2])[1], file.span(call)[1], "")
    return True


def _last(case: Case) -> Op | None:
    ops = case.snapshot.ops
    weights = [op.index for op in ops if op.kind in ("weight", "recurrence")]
    last = max(weights, default=-1)
    compared = False
    for op in ops:
        if op.index <= last:
            continue
        name = op.name.rstrip("_")
        if name in _SQUASHES or (name in _EVEN and not compared):
            return op
        compared = compared or op.name in _DIFFERENCES or op.kind == "loss"
    return None
