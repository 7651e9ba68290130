"""Losses of twins of a model whose input was tampered with."""

from __future__ import annotations

import math
from statistics import mean, variance
from typing import Any

import torch
from torch import Tensor, nn

from isograd.capture.probe import Step

# Batches drawn each way, and the smallest batch whose samples can stand for each other.
DRAWS = 6
SMALLEST = 8
# Arguments by these names are targets and stay where they are.
_TARGETS = frozenset(("labels", "label", "targets", "target", "y"))


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
    hook = _Roll()
    handle = twin.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        with torch.no_grad():
            loss = float(step(twin))
    except Exception:
        return None
    finally:
        handle.remove()
    return loss if hook.rolled else None


def input_use(twin: nn.Module, step: Step) -> float | None:
    """How far the loss rises when inputs are rolled against targets, in standard errors.

    Below about 2 the net scores the same whatever sample it sees: it has learnt nothing from
    its inputs.

    Args:
        twin: A trained copy.
        step: Draws a batch at each call.

    Returns:
        The t statistic over `DRAWS` batches each way, or None for batches below `SMALLEST` or if
        the loss does not come from one call of the model.
    """
    losses: list[list[float]] = [[], []]
    for _ in range(DRAWS):
        for rolled in (0, 1):
            hook = _Roll(active=bool(rolled))
            handle = twin.register_forward_pre_hook(hook, with_kwargs=True)
            after = twin.register_forward_hook(hook.left)
            try:
                with torch.no_grad():
                    losses[rolled].append(float(step(twin)))
            except Exception:
                return None
            finally:
                handle.remove()
                after.remove()
            if hook.calls != 1 or hook.size < SMALLEST or hook.whole:
                return None
    plain, tampered = losses
    spread = (variance(plain) + variance(tampered)) / DRAWS
    rise = mean(tampered) - mean(plain)
    if not math.isfinite(rise):
        return None
    return rise / math.sqrt(spread) if spread > 0 else (math.inf if rise > 0 else 0.0)


class _Roll:
    """A forward pre-hook that rolls the batch by one sample."""

    def __init__(self, active: bool = True) -> None:
        self.active = active
        self.rolled = False
        self.calls = 0
        self.size = 0
        self.whole = False

    def left(self, module: nn.Module, args: Any, output: Any) -> None:
        """Note a model that puts out a loss: its targets are among its inputs."""
        self.whole = isinstance(output, Tensor) and output.dim() == 0

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.calls += 1
        tensors = [v for v in (*args, *kwargs.values()) if isinstance(v, Tensor) and v.dim()]
        self.size = tensors[0].shape[0] if tensors else 0
        if self.size < 2 or not self.active:
            return args, kwargs
        self.rolled = True
        moved = {k: v if k in _TARGETS else self._moved(v) for k, v in kwargs.items()}
        return tuple(map(self._moved, args)), moved

    def _moved(self, value: Any) -> Any:
        batch = isinstance(value, Tensor) and value.dim() and value.shape[0] == self.size
        return torch.roll(value, 1, 0) if batch else value
