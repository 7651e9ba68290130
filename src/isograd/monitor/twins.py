"""Losses of twins of a model whose input was tampered with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from isograd.capture.probe import Step


def shuffled_loss(twin: nn.Module, step: Step) -> float | None:
    """Loss when the inputs of a batch are rolled by one sample against their targets.

    A net that has learnt nothing scores the same; one that has solved its task scores much
    worse.

    Args:
        twin: A copy of the model; hooked and thrown away.
        step: The step, which draws the batch.

    Returns:
        The loss, or None if the step did not call the model with a batch, or raised.
    """
    rolled = False

    def roll(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        nonlocal rolled
        tensors = [v for v in (*args, *kwargs.values()) if isinstance(v, Tensor) and v.dim()]
        size = tensors[0].shape[0] if tensors else 0
        if size < 2:
            return args, kwargs
        rolled = True

        def moved(value: Any) -> Any:
            batch = isinstance(value, Tensor) and value.dim() and value.shape[0] == size
            return torch.roll(value, 1, 0) if batch else value

        return tuple(map(moved, args)), {key: moved(value) for key, value in kwargs.items()}

    twin.register_forward_pre_hook(roll, with_kwargs=True)
    try:
        with torch.no_grad():
            loss = float(step(twin))
    except Exception:
        return None
    return loss if rolled else None
