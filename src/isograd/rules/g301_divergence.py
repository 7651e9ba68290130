"""G301: the loss runs away under the user's own optimizer.

What it checks:
    A short training of a copy: whether the loss becomes NaN or infinite, or its median over the
    last fifth of the steps is far above the first loss and still rising, while the measurement
    at the start finds every number finite. Beside it stand the sharpness, measured by
    Hessian-vector products on one batch, and the largest rate that is stable there.

Why it matters:
    Above 2/sharpness each step overshoots further than the last; nothing is learnt.

When it is wrong:
    A short warm-up bump that comes down again is not counted: the loss must still be rising.

What to do:
    Divide the learning rate by ten, or warm it up; clip the gradient norm if single batches set
    it off.

References:
    LeCun et al. (1998) for the limit 2/lambda_max; Cohen et al. (2021) for training at that edge;
    Cohen et al. (2022) for adaptive optimizers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from isograd.records import Evidence, Finding
from isograd.rules.case import Case
from isograd.rules.trend import broke_in_calm, largest_update, runs_away

CODE = "G301"
EXPLAINS = ("G106", "G108", "G307", "G308", "G402", "G601")
REQUIRES = ("training",)

# Losses of mini-batches scatter by tens of percent; a runaway gains this factor within 50 steps.
GROWTH = 3.0
MINIMUM_STEPS = 5
HALF = ("float16", "bfloat16")


def check(case: Case) -> Iterator[Finding]:
    """One finding if the training diverges."""
    training = case.training
    if training is None or not math.isfinite(case.snapshot.loss):
        return
    if not training.loss or not math.isfinite(training.loss[0]):
        return
    broke = bool(training.stopped) and (
        not math.isfinite(training.loss[-1]) or _tripled(training.loss)
    )
    if broke and (training.broke is not None or case.located) and not runs_away(training):
        return  # a step broke while all was calm: G601 says where
    if broke and training.broke is None and not case.located and broke_in_calm(training):
        return  # G607 says how to find it
    if not broke and (len(training.loss) < MINIMUM_STEPS or not _runs_away(training.loss)):
        return
    ratio = largest_update(training)
    half = any(op.output and op.output.dtype in HALF for op in case.snapshot.ops)
    last = training.loss[-1]
    at = f" at step {len(training.loss) - 1}" if broke else ""
    yield Finding(
        CODE,
        f"training diverges: the loss goes from {training.loss[0]:.3g} to {last:.3g}{at}",
        "error",
        "precision" if broke and half and not runs_away(training) else "learning-rate",
        evidence=(
            Evidence("loss at the end / at the start", last / training.loss[0], "", GROWTH),
            Evidence(
                "largest update ratio", ratio, "", None, "norm of the update / norm of the weight"
            ),
            Evidence("learning rate", max(training.learning_rate, default=0.0)),
        ),
        advice=(
            "divide the learning rate by 10 and run again",
            "warm the rate up, or clip the gradient norm if single batches set it off",
        ),
        confidence=0.95 if broke else 0.8,
        step=len(training.loss) - 1,
    )


def _tripled(loss: tuple[float, ...]) -> bool:
    """True if the last loss before a gradient broke is far above the first."""
    return abs(loss[-1]) > GROWTH * abs(loss[0])


def _runs_away(loss: tuple[float, ...]) -> bool:
    part = max(2, len(loss) // 5)
    start, middle = median(loss[:part]), median(loss[-2 * part : -part])
    end = median(loss[-part:])
    return end > GROWTH * abs(start) and end > middle


# Chinese for the texts above, by template.
ZH = {
    "training diverges: the loss goes from {a} to {b} at step {n}": (
        "训练发散：损失在第 {n} 步从 {a} 变为 {b}"
    ),
    "training diverges: the loss goes from {a} to {b}": "训练发散：损失从 {a} 变为 {b}",
    "loss at the end / at the start": "末尾损失与起始损失之比",
    "largest update ratio": "最大更新比",
    "norm of the update / norm of the weight": "更新量范数 / 权重范数",
    "learning rate": "学习率",
    "divide the learning rate by 10 and run again": "把学习率除以 10 后再试",
    "warm the rate up, or clip the gradient norm if single batches set it off": (
        "对学习率做预热；若由个别批次引发，则裁剪梯度范数"
    ),
}
