"""Axes swapped by a view that only reinterprets the numbers: a transpose is meant."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from isograd.capture.places import user_frame
from isograd.fixes.calls import Replaced, around, name_of
from isograd.fixes.expressions import call_of, subject
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError
from isograd.fixes.rewind import Rewind
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_NAMES = ("view", "reshape")


@register
class Transposed(Kind):
    """`[B, T, C]` viewed as `[T, B, C]` becomes a permutation of the axes.

    A view to the same sizes in another order moves numbers from one sample or position into
    another; there is no use for it but by mistake.
    """

    name = "transposed"
    cures = frozenset(("G401", "G402", "G408", "loss-shape", "data"))
    part = "step"
    redefines = True

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """All such views; the step runs once on a copy to find them."""
        setup = case.setup
        rewind = Rewind(setup.step, setup.train_step)
        found = _Views()
        try:
            with found:
                setup.step(setup.copied().model)
        except Exception:  # what cannot run here is no candidate
            return
        finally:
            rewind.restore()
        if found.orders:
            lines = sorted(found.orders)
            yield Proposal(
                "axes transposed instead of viewed",
                {"orders": {line: list(found.orders[line]) for line in lines}},
                snippet="".join(
                    f"x = x.permute({', '.join(map(str, found.orders[line]))})  # {line}\n"
                    for line in lines
                ),
                undo="View again.",
                weight=0.4,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Permute where the sizes say so."""

        def instead(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            out = func(*args, **kwargs)
            order = order_of(args[0], out)
            return out if order is None else args[0].permute(order).contiguous()

        return around(setup, lambda: Replaced(_NAMES, list(parameters["orders"]), instead))

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """`x.permute(...)` in place of the view."""
        for line, order in fix.parameters["orders"].items():
            file, call = call_of(source, line, _NAMES)
            text, method = subject(file, call)
            if not method:
                raise NotInSourceError(f"the view at {line} is no method")
            file.replace(call, f"{text}.permute({', '.join(map(str, order))})")


def order_of(x: Any, out: Any) -> tuple[int, ...] | None:
    """The permutation that gives the sizes of `out`, axes of one size in their order.

    None if `out` has other sizes, or the same in the same order.

    >>> import torch
    >>> x = torch.zeros(4, 3, 2)
    >>> order_of(x, x.view(3, 4, 2)), order_of(x, x.view(4, 6)), order_of(x, x.view(4, 3, 2))
    ((1, 0, 2), None, None)
    """
    if not (isinstance(x, Tensor) and isinstance(out, Tensor)) or x.dim() < 2:
        return None
    before, after = list(x.shape), list(out.shape)
    # An axis of size 1 may go anywhere without moving a number.
    moved = [n for n in before if n != 1] != [n for n in after if n != 1]
    if not moved or sorted(before) != sorted(after):
        return None
    left = list(range(len(before)))
    order: list[int] = []
    for size in after:
        order.append(next(i for i in left if before[i] == size))
        left.remove(order[-1])
    return tuple(order)


class _Views(TorchFunctionMode):
    """Notes such views with their lines."""

    def __init__(self) -> None:
        super().__init__()
        self.orders: dict[str, tuple[int, ...]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the call."""
        out = func(*args, **(kwargs or {}))
        if name_of(func) in _NAMES and args:
            order = order_of(args[0], out)
            frame = user_frame(sys._getframe(1)) if order is not None else None
            if order is not None and frame is not None:
                self.orders[f"{frame.f_code.co_filename}:{frame.f_lineno}"] = order
        return out
