"""The loss with its graph, where a new tensor is made of its value."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from isograd.fixes.calls import name_of
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError, called, own_nodes
from isograd.fixes.rewind import Rewind
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

# Calls by which a value leaves its graph.
_LEAVES = frozenset(("item", "tolist", "__float__", "detach", "data", "numpy"))
_MAKERS = ("tensor", "as_tensor", "Tensor", "FloatTensor", "Variable")


@register
class Rewrapped(Kind):
    """`torch.tensor(loss.item(), requires_grad=True)` becomes `loss`."""

    name = "loss-graph"
    cures = frozenset(("G501", "graph-cut"))
    part = "step"
    reference = "Paszke et al. (2019)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where the step returns the value of a tensor that had a graph."""
        setup = case.setup
        rewind = Rewind(setup.step, setup.train_step)
        try:
            with _Left() as left:
                loss = setup.step(setup.copied().model)
            found = left.behind(loss)
        except Exception:  # what cannot run here is no candidate
            return
        finally:
            rewind.restore()
        if found is not None:
            yield Proposal(
                "return the loss itself, not a new tensor of its value",
                snippet="return loss\n",
                undo="Return the new tensor.",
                weight=0.2,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Return what the value was taken from."""
        step = setup.step

        def whole(model: nn.Module) -> Any:
            with _Left() as left:
                loss = step(model)
            found = left.behind(loss)
            return loss if found is None else found

        setup.step = whole
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The call that makes the new tensor."""
        file, function = source.step()
        nodes = own_nodes(function) if isinstance(function, ast.FunctionDef) else ast.walk(function)
        for node in nodes:
            if not isinstance(node, ast.Call):
                continue
            inner: ast.expr | None = None
            if called(node) in _MAKERS and node.args:
                inner = node.args[0]
            elif called(node) == "requires_grad_" and isinstance(node.func, ast.Attribute):
                inner = node.func.value
            value = _source_of(inner)
            if value is not None:
                file.replace(node, file.code(value))
                return
        raise NotInSourceError("no tensor is made of a value in the step")


def _source_of(node: ast.expr | None) -> ast.expr | None:
    """The tensor behind `x.item()`, `float(x)`, `x.detach()`, `x.data`; None if it is none."""
    found = None
    while node is not None:
        if isinstance(node, ast.Call) and called(node) in (*_LEAVES, "float", "clone"):
            inner = node.func.value if isinstance(node.func, ast.Attribute) else node.args[0]
        elif isinstance(node, ast.Attribute) and node.attr == "data":
            inner = node.value
        else:
            break
        found = node = inner
    return found


class _Left(TorchFunctionMode):
    """Notes scalars with a graph whose value is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._left: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the call."""
        first = args[0] if args else None
        if name_of(func) in _LEAVES and isinstance(first, Tensor):
            if first.numel() == 1 and first.grad_fn is not None:
                self._left.append(first)
        return func(*args, **(kwargs or {}))

    def behind(self, loss: Any) -> Tensor | None:
        """The last of them with the value of a loss that has no graph; None if there is none."""
        if not isinstance(loss, Tensor) or loss.numel() != 1 or loss.grad_fn is not None:
            return None
        value = float(loss.detach())
        for tensor in reversed(self._left):
            if math.isclose(float(tensor.detach()), value, rel_tol=1e-5, abs_tol=1e-12):
                return tensor.reshape(())
        return None
