"""How sharp the valley is that an optimizer walks in, against the rate it walks with."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from isograd.capture.directions import gaussian
from isograd.capture.hessian import Hessian, NoHessianError
from isograd.capture.lanczos import Vectors, largest
from isograd.capture.probe import Step
from isograd.errors import IsogradError
from isograd.monitor.metric import Metric, metric
from isograd.records.sharpness import Sharpness


def sharpness(
    model: nn.Module,
    step: Step,
    optimizer: torch.optim.Optimizer,
    *,
    most: int = 20,
    tolerance: float = 0.01,
) -> Sharpness | None:
    """Largest curvature of one batch's loss in the optimizer's own metric.

    Args:
        model: A copy of our own; its weights are as before afterwards.
        step: `step(model)` returns the loss of one batch.
        optimizer: Of the copy, with the state that its scale is read from.
        most: Hessian-vector products at most, each about two backward passes.
        tolerance: Residual at which to stop, relative to the value.

    Returns:
        The sharpness; None where the optimizer's metric is not known, an adaptive one has no
        state yet, or the second derivative cannot be had.
    """
    own = metric(optimizer)
    if own is None:
        return None
    try:
        hessian = Hessian(model, step, own.parameters)
        roots = [_root(scale) for scale in own.scales]
        start = [gaussian(p.detach(), i) * root for i, (p, root) in _numbered(own, roots)]
        if not any(bool(part.any()) for part in start):
            return None
        found = largest(
            lambda v: _scaled(hessian, own, roots, v), start, most=most, tolerance=tolerance
        )
    except (NoHessianError, IsogradError, RuntimeError):
        return None
    if not math.isfinite(found.value):
        return None
    return Sharpness(
        value=found.value,
        limit=own.limit,
        rate=own.rate,
        optimizer=type(optimizer).__name__,
        error=found.error,
        products=found.products,
        method=hessian.method,
    )


def _scaled(hessian: Hessian, own: Metric, roots: list[Tensor | float], v: Vectors) -> Vectors:
    """`S^1/2 (H + decay) S^1/2 v`."""
    pushed = [part * root for part, root in zip(v, roots, strict=True)]
    curved = hessian(pushed)
    return [
        root * (bent + decay * part)
        for root, bent, decay, part in zip(roots, curved, own.decay, pushed, strict=True)
    ]


def _numbered(own: Metric, roots: list[Tensor | float]):
    return enumerate(zip(own.parameters, roots, strict=True))


def _root(scale: Tensor | float) -> Tensor | float:
    return scale.sqrt() if isinstance(scale, Tensor) else math.sqrt(scale)
