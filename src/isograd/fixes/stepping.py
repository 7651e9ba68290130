"""Something done before each step of an optimizer, which copies of the optimizer do too.

Hooks do not travel with a copy, so the optimizer gets a class of its own that does it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch


def before_step(
    optimizer: torch.optim.Optimizer, action: Callable[[torch.optim.Optimizer], None]
) -> None:
    """Run `action(optimizer)` at the start of each `step`, from now on.

    Args:
        optimizer: Changed in place.
        action: May change gradients and settings.
    """
    kind: Any = type(optimizer)
    inner = kind.step

    @functools.wraps(inner)
    def step(self: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        action(self)
        return inner(self, *args, **kwargs)

    optimizer.__class__ = type(
        kind.__name__, (kind,), {"step": step, "__module__": kind.__module__}
    )
