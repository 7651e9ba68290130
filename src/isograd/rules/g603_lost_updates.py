"""G603: updates too small for the precision of the weights.

What it checks:
    For weights kept in float16 or bfloat16: the share of entries with a gradient that a step
    changes at all, over all weights, where the training goes badly.

Why it matters:
    bfloat16 has 8 significant bits: a change below |w|/256 is rounded away, every time.

When it is wrong:
    Late in a training steps are small by right: where the loss has halved nothing is said.

What to do:
    Keep a float32 copy of the weights (autocast instead of `model.bfloat16()`), use stochastic
    rounding, or a larger rate.

References:
    Micikevicius et al. (2018); Gupta et al. (2015).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from isograd.records import Evidence, Finding, Training
from isograd.rules.case import Case

CODE = "G603"
EXPLAINS = ("G303", "G402", "G606")
REQUIRES = ("training",)
# Healthy bfloat16 training leaves 15 % unchanged, a lost one 85 % (benchmarks/diagnosis, dev).
# Biases start at zero and take every update, so that weights are counted by their entries.
STUCK = 0.5


def check(case: Case) -> Iterator[Finding]:
    """One finding if most entries of most half-precision weights stay as they are."""
    training = case.training
    if training is None:
        return
    share = _stuck(case, training)
    if share is None or share < STUCK or not case.poor:
        return
    yield Finding(
        CODE,
        f"updates are lost to rounding: {100 * share:.0f} % of the half-precision entries "
        "do not change",
        "error",
        "precision",
        evidence=(Evidence("share of entries a step leaves as they are", share, "", STUCK),),
        advice=(
            "keep the weights in float32 and use autocast, not `model.bfloat16()` or `.half()`",
            "or raise the learning rate, or use an optimizer with stochastic rounding",
        ),
        confidence=0.9,
    )


def _stuck(case: Case, training: Training) -> float | None:
    """Share of all half-precision entries that a step leaves as they are; None without any."""
    left = total = 0.0
    for name, track in training.parameters.items():
        if track.landed and any(track.gradient):
            entries = math.prod(case.snapshot.parameters[name].shape)
            left += entries * (1 - median(track.landed))
            total += entries
    return left / total if total else None


# Chinese for the texts above, by template.
ZH = {
    "updates are lost to rounding: {x} % of the half-precision entries do not change": (
        "更新被舍入吞掉：{x} % 的半精度元素没有变化"
    ),
    "share of entries a step leaves as they are": "一步之后没有变化的元素比例",
    "keep the weights in float32 and use autocast, not `model.bfloat16()` or `.half()`": (
        "权重保持 float32 并使用 autocast，而不是 `model.bfloat16()` 或 `.half()`"
    ),
    "or raise the learning rate, or use an optimizer with stochastic rounding": (
        "或提高学习率，或使用带随机舍入的优化器"
    ),
}
