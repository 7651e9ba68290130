"""Beside a hunt: the torch functions the user calls, and silence for our own ops."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

if TYPE_CHECKING:
    from isograd.capture.hunt import Hunt


class Calls(TorchFunctionMode):
    """Tells a hunt which torch function the user called, and where a backward pass begins."""

    def __init__(self, hunt: Hunt) -> None:
        super().__init__()
        self._hunt = hunt

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the call and note its name meanwhile."""
        hunt = self._hunt
        name = getattr(func, "__name__", "")
        if name == "backward" and args:
            hunt.saw_root(args[0])
            out = func(*args, **(kwargs or {}))
            hunt.saw_gradients()
            return out
        before, hunt.call = hunt.call, name
        try:
            return func(*args, **(kwargs or {}))
        finally:
            hunt.call = before


def quiet() -> ExitStack:
    """Our own ops are not watched."""
    stack = ExitStack()
    stack.enter_context(_disable_current_modes())
    stack.enter_context(torch._C.DisableTorchFunction())
    return stack


def held_by(optimizer: Any) -> dict[str, Tensor]:
    """An optimizer's weights by name; by number where it knows no names."""
    out: dict[str, Tensor] = {}
    for number, group in enumerate(optimizer.param_groups):
        count = len(group["params"])
        names = group.get("param_names") or [f"group {number}[{i}]" for i in range(count)]
        out.update(dict(zip(names, group["params"], strict=False)))
    return out


def has_closure(args: Any, kwargs: Any) -> bool:
    """True if an optimizer's step was given a closure."""
    given = (a for a in (*args, *kwargs.values()) if not isinstance(a, torch.optim.Optimizer))
    return any(callable(a) for a in given)
