"""G304: hardly anything of the gradient reaches the optimizer.

What it checks:
    The norm of the gradient that the optimizer sees against its norm right after the backward
    pass, at each step of the user's own loop.

Why it matters:
    Clipping at a thousandth of the usual norm is a thousand times smaller rate, chosen by
    accident.

When it is wrong:
    Unscaling after a loss scaler divides by a power of two; such a ratio is left alone. Adam
    and its kin divide the gradient by its own scale, so a constant factor costs nothing until it
    falls to their eps.

What to do:
    Set the threshold at the usual gradient norm (the 90th percentile of a run), not far below.

References:
    Pascanu et al. (2013).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from isograd.records import Evidence, Finding
from isograd.rules.case import Case
from isograd.rules.scale import SCALED, loss_scale, power_of_two

CODE = "G304"
EXPLAINS = ("G303", "G402")
REQUIRES = ("training",)

# Healthy loops clip to 7 % or more in the median (benchmarks/diagnosis, dev half).
LANDED = 1e-2
# With an adaptive optimizer the gradient must come near its eps (1e-8) to matter.
LANDED_ADAPTIVE = 1e-6
HALF = ("float16", "bfloat16")


def check(case: Case) -> Iterator[Finding]:
    """One finding if the median ratio is tiny."""
    training = case.training
    if training is None or not training.clip_ratio:
        return
    scale = loss_scale(case)
    # Of the gradient of the loss itself, whatever a scaler multiplies it with in between.
    seen = [ratio * scale for ratio in training.clip_ratio if math.isfinite(ratio)]
    if not seen:
        return
    ratio = median(seen)
    adaptive = training.optimizer is not None and training.optimizer.adaptive
    limit = LANDED_ADAPTIVE if adaptive else LANDED
    if not 0 <= ratio < limit or (scale < SCALED and power_of_two(ratio)):
        return
    if ratio == 0:
        half = {op.output.dtype for op in case.snapshot.ops if op.output} & set(HALF)
        yield _lost(min(half)) if half else _cleared()
        return
    yield Finding(
        CODE,
        f"clipped away: the optimizer sees {ratio:.2g} of the gradient"
        + (", which is clipped while the loss scale is still in it" if scale >= SCALED else ""),
        "error",
        "precision" if scale >= SCALED else "clipping",
        evidence=(
            Evidence(
                "gradient norm at the optimizer / after backward",
                ratio,
                "",
                limit,
                "median over the steps",
            ),
        ),
        advice=_SCALED if scale >= SCALED else _FAR,
        confidence=0.9,
    )


_FAR = (
    "set the clipping threshold near the usual gradient norm, not far below it",
    "clip after unscaling if a loss scaler is used",
)
_SCALED = ("call `scaler.unscale_(optimizer)` before `clip_grad_norm_`",)


def _lost(dtype: str) -> Finding:
    return Finding(
        CODE,
        f"gradients are zero when the optimizer steps: they were scaled down below {dtype}",
        "error",
        "precision",
        evidence=(
            Evidence("gradient norm at the optimizer / after backward", 0.0, "", LANDED, "median"),
        ),
        advice=("keep gradients in float32 before they are divided by the loss scale",),
        confidence=0.85,
    )


def _cleared() -> Finding:
    return Finding(
        CODE,
        "gradients are zero when the optimizer steps: they are cleared after the backward pass",
        "error",
        "accumulation",
        evidence=(
            Evidence("gradient norm at the optimizer / after backward", 0.0, "", LANDED, "median"),
        ),
        advice=("call `optimizer.zero_grad()` before the backward pass or after `step()`",),
        confidence=0.95,
    )


# Chinese for the texts above, by template.
ZH = {
    "gradients are zero when the optimizer steps: they were scaled down below {dtype}": (
        "优化器更新时梯度为零：它们被缩小到 {dtype} 的范围之下"
    ),
    "keep gradients in float32 before they are divided by the loss scale": (
        "在除以损失缩放系数之前把梯度转为 float32"
    ),
    "gradients are zero when the optimizer steps: they are cleared after the backward pass": (
        "优化器更新时梯度为零：梯度在反向传播之后就被清零了"
    ),
    "call `optimizer.zero_grad()` before the backward pass or after `step()`": (
        "在反向传播之前或 `step()` 之后调用 `optimizer.zero_grad()`"
    ),
    "median": "中位数",
    "clipped away: the optimizer sees {x} of the gradient": (
        "梯度几乎被裁剪掉：优化器只看到其中的 {x}"
    ),
    "gradient norm at the optimizer / after backward": "优化器处的梯度范数 / 反向之后的范数",
    "clipped away: the optimizer sees {x} of the gradient, which is clipped while the loss scale "
    "is still in it": "梯度几乎被裁剪掉：优化器只看到其中的 {x}，裁剪时损失缩放尚未还原",
    "call `scaler.unscale_(optimizer)` before `clip_grad_norm_`": (
        "在 `clip_grad_norm_` 之前调用 `scaler.unscale_(optimizer)`"
    ),
    "median over the steps": "各步的中位数",
    "set the clipping threshold near the usual gradient norm, not far below it": (
        "把裁剪阈值设在通常的梯度范数附近，而不是远低于它"
    ),
    "clip after unscaling if a loss scaler is used": "若使用损失缩放，请在还原之后再裁剪",
}
