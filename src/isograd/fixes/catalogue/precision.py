"""Numbers with more range or more digits."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_NAMES = ("float16", "half", "bfloat16")
_HALF = (torch.float16, torch.bfloat16)


def _cast_in(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    def cast(value: Any) -> Any:
        half = isinstance(value, Tensor) and value.dtype in _HALF
        return value.float() if half else value

    return tuple(map(cast, args)), {k: cast(v) for k, v in kwargs.items()}


@register
class Precision(Kind):
    """float32 weights instead of half ones; bfloat16 instead of float16 under autocast."""

    name = "precision"
    cures = frozenset(("precision", "G601", "G603", "G604", "G602", "G605", "numerics"))
    part = "step"
    reference = "Micikevicius et al. (2018); Kalamkar et al. (2019)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """By where the half precision comes from."""
        weights = {p.dtype for p in case.setup.model.parameters()} & set(_HALF)
        if weights:
            yield Proposal(
                "float32 weights",
                {"what": "weights"},
                snippet="model = model.float()  # and inputs in float32\n",
                undo="Cast back.",
                weight=0.6,
            )
        elif any(
            op.output is not None and op.output.dtype in ("float16", "bfloat16")
            for op in case.snapshot.ops
        ) or any(op.underflow is not None for op in case.snapshot.ops):
            for new in ("bfloat16", "float32"):
                yield Proposal(
                    f"{new} under autocast",
                    {"what": "autocast", "to": new},
                    undo="Put the dtype back.",
                    weight=0.5 if new == "bfloat16" else 0.6,
                )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Cast model and inputs, or change what autocast asks for."""
        if parameters["what"] == "weights":
            setup.model.float()
            setup.model.register_forward_pre_hook(_cast_in, with_kwargs=True)
            return setup
        new = getattr(torch, parameters["to"])
        step, train_step = setup.step, setup.train_step

        def wrapped(function: Any) -> Any:
            def call(*args: Any) -> Any:
                first = torch.amp.autocast_mode.autocast.__init__

                def init(
                    self: Any, device: str, dtype: Any = None, *rest: Any, **more: Any
                ) -> None:
                    dtype = new if dtype in (None, torch.float16) else dtype
                    if dtype is torch.float32:
                        more["enabled"], dtype = False, None
                        rest = rest[1:]
                    first(self, device, dtype, *rest, **more)

                torch.amp.autocast_mode.autocast.__init__ = init  # type: ignore[method-assign]
                try:
                    return function(*args)
                finally:
                    torch.amp.autocast_mode.autocast.__init__ = first  # type: ignore[method-assign]

            return call

        setup.step = wrapped(step)
        setup.train_step = None if train_step is None else wrapped(train_step)
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """Every half dtype that the file names."""
        new = "float32" if fix.parameters["what"] == "weights" else fix.parameters["to"]
        off = fix.parameters.get("to") == "float32"
        done = 0
        for call in source.calls(("autocast",)) if off else ():
            source.file_of(call).set_argument(call, "enabled", "False", None)
            done += 1
        for file in source.files if not off else ():
            for node in ast.walk(file.tree):
                if isinstance(node, ast.Attribute) and node.attr in _NAMES:
                    parent = file.parents.get(node)
                    method = isinstance(parent, ast.Call) and parent.func is node
                    if method and new == "float32":  # model.half()
                        file.replace(node, f"{file.code(node.value)}.float")
                        done += 1
                    elif not method and node.attr != new:
                        file.replace(node, f"{file.code(node.value)}.{new}")
                        done += 1
        if not done:
            raise NotInSourceError("no half precision is named in your source")
