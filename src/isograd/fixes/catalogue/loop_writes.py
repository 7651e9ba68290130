"""Weights that nothing but the optimizer changes."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from isograd.capture.places import user_frame
from isograd.fixes.calls import name_of
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.optimizer import loop
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError
from isograd.fixes.rewind import Rewind
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_SETS = frozenset(("__setitem__", "__imul__", "__iadd__", "__isub__", "__itruediv__"))


@register
class LoopWrites(Kind):
    """Lines of the loop that write to the weights are left out: a clamp, a decay by hand."""

    name = "no-writes"
    cures = frozenset(
        "G304 G309 G312 G603 G703 clipping weight-decay regularization weight-scale precision "
        "learning-rate optimizer-state".split()
    )
    part = "step"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where the loop writes; it runs once on a copy to find out."""
        setup = case.setup
        if setup.train_step is None or setup.optimizer is None:
            return
        twin = setup.copied()
        rewind = Rewind(setup.step, setup.train_step)
        found = _Writes(twin.model, False)
        try:
            with found:
                setup.train_step(twin.model, twin.optimizer)  # type: ignore[arg-type]
        except Exception:  # what cannot run here is no candidate
            return
        finally:
            rewind.restore()
        if found.names:
            yield Proposal(
                "no " + ", ".join(sorted(found.names)) + " of weights in the loop",
                {"calls": sorted(found.names), "lines": sorted(found.lines)},
                snippet="# leave the line out that changes the weights by hand\n",
                undo="Write to the weights again.",
                weight=0.4,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Such calls do nothing while the loop runs."""
        train_step = setup.train_step
        if train_step is None:
            return setup

        def whole(model: nn.Module, optimizer: torch.optim.Optimizer) -> Any:
            with _Writes(model, True):
                return train_step(model, optimizer)

        setup.train_step = whole
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The statements."""
        file, function = loop(source)
        calls, done = set(fix.parameters["calls"]), set()
        for node in ast.walk(function):
            if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
                continue
            named = {
                n.func.attr
                for n in ast.walk(node.value)
                if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)
            }
            if named and named <= calls:
                file.replace(node, "pass")
                done |= named
        if done != calls:
            raise NotInSourceError("not all of the lines were found in the loop")


class _Writes(TorchFunctionMode):
    """Notes in-place calls on parameters outside the optimizer, and may leave them out."""

    def __init__(self, model: nn.Module, skip: bool) -> None:
        super().__init__()
        self._own = {p.data_ptr() for p in model.parameters()}
        self._skip = skip
        self.names: set[str] = set()
        self.lines: set[str] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the call, or hand the parameter on as it is."""
        name = name_of(func)
        writes = (name.endswith("_") and not name.endswith("__")) or name in _SETS
        writes = writes and name not in ("requires_grad_", "retain_grad", "zero_", "detach_")
        if writes and args and self._is_weight(args[0]):
            frame = user_frame(sys._getframe(1))
            if frame is not None and not _in_a_step(sys._getframe(1)):
                self.names.add(name)
                self.lines.add(f"{frame.f_code.co_filename}:{frame.f_lineno}")
                if self._skip:
                    return args[0]
        return func(*args, **(kwargs or {}))

    def _is_weight(self, tensor: Any) -> bool:
        """True for a weight, or its `.data`, that is written without a trace in the graph."""
        if not isinstance(tensor, Tensor) or (tensor.requires_grad and torch.is_grad_enabled()):
            return False
        with torch._C.DisableTorchFunction():
            return tensor.data_ptr() in self._own


def _in_a_step(frame: Any) -> bool:
    """True inside the `step` of an optimizer, the user's own too."""
    while frame is not None:
        if frame.f_code.co_name == "step":
            if isinstance(frame.f_locals.get("self"), torch.optim.Optimizer):
                return True
        frame = frame.f_back
    return False
