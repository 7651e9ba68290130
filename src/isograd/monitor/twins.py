"""Losses of twins of a model whose input was tampered with."""

from __future__ import annotations

import math
from statistics import mean, variance
from typing import Any

import torch
from torch import Tensor, nn

from isograd.capture.probe import Step
from isograd.capture.rng import RandomState

# Batches drawn each way, and the smallest batch whose samples can stand for each other.
DRAWS = 6
# Where a weak signal must be told from none.
MANY_DRAWS = 48
# Batches that scatter so much that a rise of a tenth of the loss would not show at two standard
# errors are drawn again, up to this many.
PRECISE = 0.05
# Beyond doubt, whenever it is looked at.
SURE = 6.0
SCATTERED_DRAWS = 48
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


def input_use(twin: nn.Module, step: Step, draws: int = DRAWS) -> float | None:
    """How far the loss rises when inputs are rolled against targets, in standard errors.

    Below about 2 the net scores the same whatever sample it sees: it has learnt nothing from
    its inputs.

    Args:
        twin: A trained copy.
        step: Draws a batch at each call.
        draws: Batches each way; more where they scatter. If they are many, the global generators
            stand alike for both ways, so that a step that draws with them is compared on the same
            batches.

    Returns:
        The t statistic over the batches, of pairs if there are many; None for batches below
        `SMALLEST`, if the loss does not come from one call of the model, or if many were asked
        for and samples come up again: then the net may know them by heart.
    """
    losses: list[list[float]] = [[], []]
    keys: list[str] = []
    for drawn in range(max(draws, SCATTERED_DRAWS)):
        if drawn >= draws and (draws > DRAWS or _precise(losses)):
            break
        generators = RandomState() if draws > DRAWS else None
        for rolled in (0, 1):
            if rolled and generators is not None:
                generators.restore()
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
            if draws > DRAWS and not rolled:
                keys += hook.keys
            if hook.calls != 1 or hook.size < SMALLEST or hook.whole:
                return None
    if len(set(keys)) < len(keys):
        return None
    plain, tampered = losses
    if draws > DRAWS:
        spread = variance([b - a for a, b in zip(plain, tampered, strict=True)]) / draws
    else:
        spread = _squared_error(losses)
    rise = mean(tampered) - mean(plain)
    if not math.isfinite(rise):
        return None
    return rise / math.sqrt(spread) if spread > 0 else (math.inf if rise > 0 else 0.0)


def _squared_error(losses: list[list[float]]) -> float:
    """Variance of the difference of two means."""
    return sum(variance(values) / len(values) for values in losses)


def _precise(losses: list[list[float]]) -> bool:
    """True if more batches would not change what is said."""
    plain, tampered = map(mean, losses)
    error = _squared_error(losses)
    if not math.isfinite(error):
        return True
    sure = tampered - plain > SURE * math.sqrt(error)
    return sure or math.sqrt(error) <= PRECISE * abs(plain)


class _Roll:
    """A forward pre-hook that rolls the batch by one sample."""

    def __init__(self, active: bool = True) -> None:
        self.active = active
        self.rolled = False
        self.calls = 0
        self.size = 0
        self.whole = False
        self.keys: list[str] = []

    def left(self, module: nn.Module, args: Any, output: Any) -> None:
        """Note a model that puts out a loss: its targets are among its inputs."""
        self.whole = isinstance(output, Tensor) and output.dim() == 0

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.calls += 1
        tensors = [v for v in (*args, *kwargs.values()) if isinstance(v, Tensor) and v.dim()]
        self.size = tensors[0].shape[0] if tensors else 0
        self.keys = _keys(tensors[0]) if tensors else []
        if self.size < 2 or not self.active:
            return args, kwargs
        self.rolled = True
        moved = {k: v if k in _TARGETS else self._moved(v) for k, v in kwargs.items()}
        return tuple(map(self._moved, args)), moved

    def _moved(self, value: Any) -> Any:
        batch = isinstance(value, Tensor) and value.dim() and value.shape[0] == self.size
        return torch.roll(value, 1, 0) if batch else value


def _keys(batch: Tensor) -> list[str]:
    """A number for each sample that equal samples share, less the digits that rounding moves."""
    rows = batch.detach().reshape(batch.shape[0], -1)
    if rows.is_complex() or rows.is_meta:
        return []
    places = torch.arange(1, rows.shape[1] + 1, dtype=torch.float64, device=rows.device)
    return [f"{key:.11g}" for key in (rows.double() @ places.sqrt()).tolist()]
