"""G605: the loss is scaled up and its gradients are never scaled down.

What it checks:
    The weight with which the loss function enters what is returned against the gradient norm
    before the optimizer's step: a weight of 1024 or more that no one divides out again.

Why it matters:
    Plain SGD then takes steps that are that many times too large.

When it is wrong:
    Adam divides by the gradient's own scale, so it is left alone. So is a training that learns.

What to do:
    `scaler.step(optimizer)`, or divide the gradients by the scale before the step.

References:
    Micikevicius et al. (2018), section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from isograd.records import Evidence, Finding
from isograd.rules.case import Case

CODE = "G605"
EXPLAINS = ("G301", "G303", "G308", "G402", "G601", "G307", "G703")
REQUIRES = ("training",)

SCALED = 1024.0


def check(case: Case) -> Iterator[Finding]:
    """One finding if the scale reaches the optimizer."""
    training = case.training
    if training is None or not training.clip_ratio or not case.failing:
        return
    weight = max((call.weight or 0.0 for call in case.snapshot.losses), default=0.0)
    ratio = median(training.clip_ratio)
    adaptive = training.optimizer is not None and training.optimizer.adaptive
    if not math.isfinite(weight * ratio) or weight < SCALED or adaptive or ratio * weight < SCALED:
        return
    yield Finding(
        CODE,
        f"the loss is scaled by {weight:g} and its gradients reach the optimizer like that",
        "error",
        "precision",
        evidence=(
            Evidence("weight of the loss function", weight, "", SCALED, "its gradient"),
            Evidence("gradient norm at the optimizer / after backward", ratio, "", 1 / weight),
        ),
        advice=("call `scaler.unscale_(optimizer)` or `scaler.step(optimizer)`",),
        confidence=0.85,
    )


# Chinese for the texts above, by template.
ZH = {
    "the loss is scaled by {x} and its gradients reach the optimizer like that": (
        "损失被放大 {x} 倍，其梯度未经还原就到达优化器"
    ),
    "weight of the loss function": "损失函数的权重",
    "its gradient": "其梯度",
    "call `scaler.unscale_(optimizer)` or `scaler.step(optimizer)`": (
        "调用 `scaler.unscale_(optimizer)` 或 `scaler.step(optimizer)`"
    ),
}
