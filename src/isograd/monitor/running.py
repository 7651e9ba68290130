"""How far running statistics of batch norms lag behind, and what that costs in evaluation."""

from __future__ import annotations

import copy
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from isograd.capture.probe import Step, call_step
from isograd.capture.rng import RandomState
from isograd.errors import IsogradError
from isograd.records.running import Running

_DRAWS = 3


def running_statistics(twin: nn.Module, step: Step) -> Running | None:
    """Measure a trained copy.

    Args:
        twin: Copied once more; stays as it is.
        step: The step, which draws a batch.

    Returns:
        The lag of each batch norm that averages with a fixed momentum; None without one, or if
        the step raises.
    """
    if not any(_averages(m) for m in twin.modules()):
        return None
    generators = RandomState()
    gaps: dict[str, float] = {}
    try:
        other = copy.deepcopy(twin)
        norms = {
            n: m for n, m in other.named_modules() if isinstance(m, _BatchNorm) and _averages(m)
        }
        handles = [m.register_forward_pre_hook(_compare(name, gaps)) for name, m in norms.items()]
        with torch.no_grad():
            # Evaluated as they are: a pass in training mode would move them.
            for module in norms.values():
                module.eval()
            losses = [float(call_step(step, other)) for _ in range(_DRAWS)]
        for handle in handles:
            handle.remove()
    except (IsogradError, RuntimeError, TypeError, ValueError):
        return None
    finally:
        generators.restore()
    momentum = {n: float(m.momentum or 0.0) for n, m in norms.items() if n in gaps}
    return Running(gaps, momentum, median(losses))


def _averages(module: nn.Module) -> bool:
    return (
        isinstance(module, _BatchNorm)
        and module.training
        and module.running_mean is not None
        and module.momentum is not None
    )


def _compare(name: str, gaps: dict[str, float]) -> Any:
    def before(module: _BatchNorm, args: tuple[Any, ...]) -> None:
        x = args[0] if args else None
        if name in gaps or not isinstance(x, Tensor) or x.dim() < 2 or module.running_mean is None:
            return
        rows = x.detach().double().transpose(0, 1).flatten(1)
        deviation = rows.std(1, unbiased=False)
        lag = (module.running_mean.double() - rows.mean(1)).abs() / deviation.clamp(min=1e-300)
        seen = lag[deviation > 0]  # a channel that stands still has no scale
        if seen.numel():
            gaps[name] = float(seen.square().mean().sqrt())

    return before
