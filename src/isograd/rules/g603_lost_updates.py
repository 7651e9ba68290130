"""G603: updates too small for the precision of the weights.

What it checks:
    For weights kept in float16 or bfloat16: the share of entries that a step changes at all.

Why it matters:
    bfloat16 has 8 significant bits: a change below |w|/256 is rounded away, every time.

When it is wrong:
    Entries whose gradient is zero do not change either; a sparse embedding is left out by the
    median over weights.

What to do:
    Keep a float32 copy of the weights (autocast instead of `model.bfloat16()`), use stochastic
    rounding, or a larger rate.

References:
    Micikevicius et al. (2018); Gupta et al. (2015).
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from isograd.records import Evidence, Finding
from isograd.rules.case import Case

CODE = "G603"
EXPLAINS = ("G303", "G402")
REQUIRES = ("training",)
# Healthy bfloat16 training leaves 15 % unchanged, a lost one 85 % (benchmarks/diagnosis, dev).
STUCK = 0.5


def check(case: Case) -> Iterator[Finding]:
    """One finding if most entries of most half-precision weights stay as they are."""
    training = case.training
    if training is None:
        return
    stuck = [
        1 - median(track.landed)
        for track in training.parameters.values()
        if track.landed and any(track.gradient)
    ]
    if not stuck or median(stuck) < STUCK:
        return
    yield Finding(
        CODE,
        f"updates are lost to rounding: {100 * median(stuck):.0f} % of the half-precision entries "
        "do not change",
        "error",
        "precision",
        evidence=(
            Evidence("share of entries a step leaves as they are", median(stuck), "", STUCK),
        ),
        advice=(
            "keep the weights in float32 and use autocast, not `model.bfloat16()` or `.half()`",
            "or raise the learning rate, or use an optimizer with stochastic rounding",
        ),
        confidence=0.9,
    )


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
