"""G605: the loss is scaled up and its gradients are never scaled down.

What it checks:
    The weight with which the loss function enters what is returned, and the factor of a gradient
    scaler, against the gradient norm before the optimizer's step: a factor of 1024 or more that
    no one divides out again, or one that is divided out and was never put in.

Why it matters:
    Plain SGD then takes steps that are that many times too large, or too small.

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
from isograd.rules.scale import SCALED, loss_scale, power_of_two

CODE = "G605"
EXPLAINS = ("G301", "G303", "G304", "G308", "G402", "G601", "G307", "G703", "G606")
REQUIRES = ("training",)


def check(case: Case) -> Iterator[Finding]:
    """One finding if the scale reaches the optimizer, or is taken out without being put in."""
    training = case.training
    if training is None or not case.failing:
        return
    ratios = [ratio for ratio in training.clip_ratio if math.isfinite(ratio)]
    adaptive = training.optimizer is not None and training.optimizer.adaptive
    if not ratios or adaptive:
        return
    weight, ratio = loss_scale(case), median(ratios)
    if weight >= SCALED and ratio * weight >= SCALED:
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
    elif weight < SCALED and ratio < 1 / SCALED and power_of_two(ratio):
        yield Finding(
            CODE,
            f"gradients are divided by {1 / ratio:g} before the optimizer steps, and the loss was "
            "never multiplied by it",
            "error",
            "precision",
            evidence=(
                Evidence("gradient norm at the optimizer / after backward", ratio, "", 1 / SCALED),
                Evidence("weight of the loss function", weight, "", SCALED, "its gradient"),
            ),
            advice=("call `scaler.scale(loss).backward()` where `scaler.step(optimizer)` is used",),
            confidence=0.85,
        )


# Chinese for the texts above, by template.
ZH = {
    "the loss is scaled by {x} and its gradients reach the optimizer like that": (
        "损失被放大 {x} 倍，其梯度未经还原就到达优化器"
    ),
    "weight of the loss function": "损失函数的权重",
    "its gradient": "其梯度",
    "gradients are divided by {x} before the optimizer steps, and the loss was never multiplied by "
    "it": "优化器更新前梯度被除以 {x}，而损失并未乘过它",
    "call `scaler.scale(loss).backward()` where `scaler.step(optimizer)` is used": (
        "在使用 `scaler.step(optimizer)` 的地方调用 `scaler.scale(loss).backward()`"
    ),
    "call `scaler.unscale_(optimizer)` or `scaler.step(optimizer)`": (
        "调用 `scaler.unscale_(optimizer)` 或 `scaler.step(optimizer)`"
    ),
}
