"""G305: gradients are not cleared between steps.

What it checks:
    At the first backward pass after an optimizer step, what still lies in `.grad` against what
    that step saw.

Why it matters:
    Each step repeats all earlier gradients: momentum of 1, which does not settle.

When it is wrong:
    Accumulation clears after the step that uses the sum; then nothing is left and this is quiet.

What to do:
    Call `optimizer.zero_grad()` once per step.

References:
    The notes of PyTorch on zeroing gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from isograd.records import Evidence, Finding
from isograd.rules.case import Case

CODE = "G305"
EXPLAINS = ("G301", "G303", "G402")
REQUIRES = ("training",)

# Cleared gradients leave exactly 0 and uncleared ones exactly 1; half lies between.
LEFT = 0.5
MINIMUM = 3


def check(case: Case) -> Iterator[Finding]:
    """One finding if gradients stay."""
    training = case.training
    if training is None or len(training.stale) < MINIMUM:
        return
    left = median(training.stale)
    if not left > LEFT:
        return
    yield Finding(
        CODE,
        "gradients are not cleared: each step adds to those of all steps before",
        "error",
        "accumulation",
        evidence=(
            Evidence("left over after a step", left, "", LEFT, "share of what the step saw"),
        ),
        advice=("call `optimizer.zero_grad()` once per step, before the backward pass",),
        confidence=0.95,
    )


# Chinese for the texts above, by template.
ZH = {
    "gradients are not cleared: each step adds to those of all steps before": (
        "梯度没有清零：每一步都叠加在之前所有步之上"
    ),
    "left over after a step": "一步之后残留的梯度",
    "share of what the step saw": "占该步所见梯度的比例",
    "call `optimizer.zero_grad()` once per step, before the backward pass": (
        "每一步在反向之前调用一次 `optimizer.zero_grad()`"
    ),
}
