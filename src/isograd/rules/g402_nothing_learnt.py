"""G402: gradients are fine and still nothing is learnt from the inputs.

What it checks:
    After a short training, whether the loss of a batch rises when its inputs are rolled by one
    sample against their targets. A net that uses its inputs scores worse; one that has learnt
    nothing scores the same.

Why it matters:
    The loss can fall to that of the best constant answer and stay there.

When it is wrong:
    A task that needs more steps than were run: then this is early. Batches below 8 samples and
    models that are called more than once per step are not judged.

What to do:
    Look at what the numbers beside it say: targets that do not vary, inputs that do not vary
    or are far from unit scale. Else check that inputs and targets belong together.

References:
    Zhang et al. (2017) on labels that are independent of inputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.records.finding import Cause
from isograd.records.training import Training, beats, end_of
from isograd.rules.case import STANDARD_ERRORS, Case

CODE = "G402"
EXPLAINS: tuple[str, ...] = ()
REQUIRES = ("training", "input use")

# First-layer inputs of this RMS put activations and curvature off by its square.
LARGE = 30.0
SMALL = 1e-3
# An output this much smaller than at the start is a constant to the loss.
SHRUNK = 1e-2


def check(case: Case) -> Iterator[Finding]:
    """One finding if the net does not use its inputs and the loss does not fall."""
    training = case.training
    if training is None or training.uses is None or not case.failing:
        return
    if case.solved or case.learns_later or case.uses_later:
        return
    if not case.blind:
        yield from _constant(case, training)
        return
    cause, why, advice, more = _reason(case)
    yield Finding(
        CODE,
        f"nothing is learnt from the inputs in {len(training.loss)} steps{why}",
        "warning",
        cause,
        evidence=(
            Evidence(
                "rise of the loss when inputs are rolled against targets",
                training.uses,
                "standard errors",
                STANDARD_ERRORS,
                "6 batches each way, after the training",
            ),
            *more,
        ),
        advice=advice,
        confidence=0.6,
        step=len(training.loss),
    )


def _constant(case: Case, training: Training) -> Iterator[Finding]:
    """A loss that has come down to that of the best constant answer, and stays there."""
    constant, end = case.snapshot.constant_loss, end_of(training.loss)
    if not math.isclose(training.loss[0], case.snapshot.loss, rel_tol=0.5):
        return  # the loop scales its loss
    if constant is None or not math.isfinite(end) or beats(end, constant):
        return
    shrunk = _shrunk(case)
    yield Finding(
        CODE,
        f"the loss stands at {end:.4g}; the best constant answer scores {constant:.4g}",
        "warning",
        "weight-scale" if shrunk is not None else "data",
        evidence=(
            Evidence("loss at the end", end, "", constant),
            *(
                (Evidence("output of the last layer, end / start", shrunk, "", SHRUNK),)
                if shrunk is not None
                else ()
            ),
        ),
        advice=(
            ("find the scale (a temperature, a gain) that goes to zero, and bound it",)
            if shrunk is not None
            else ("try to overfit one batch; if that works, the data is at fault",)
        ),
        confidence=0.6,
        step=len(training.loss),
    )


def _shrunk(case: Case) -> float | None:
    """Size of what the loss reads, end / start, if next to nothing is left of it."""
    end = case.training.end if case.training else None
    start = case.snapshot
    if end is None or len(end.ops) != len(start.ops):
        return None
    places = [max(case.layer_ops, default=-1)]
    places += [i for call in start.losses for i in start.ops[call.op].sources]
    for at in places:
        before, after = start.ops[at].output, end.ops[at].output
        if at >= 0 and before and after and before.rms > 0 and after.rms < SHRUNK * before.rms:
            return after.rms / before.rms
    return None


def _reason(case: Case) -> tuple[Cause, str, tuple[str, ...], tuple[Evidence, ...]]:
    snapshot = case.snapshot
    for call in snapshot.losses:
        if call.target.distinct == 1 and len(call.target_shape) > 0 and call.target_shape[0] > 1:
            return (
                "labels",
                ": all targets are alike",
                ("check how targets are read: they do not vary",),
                (Evidence("distinct targets", 1.0, "", 2.0),),
            )
    first = snapshot.ops[snapshot.layers[0].op_index] if snapshot.layers else None
    stats = first.inputs if first else None
    if stats is not None and (stats.rms > LARGE or stats.rms < SMALL):
        scale: Cause = "input-scale" if stats.rms > 0 else "data"
        return (
            scale,
            ": inputs are far from unit scale",
            ("scale the inputs to zero mean and unit variance",),
            (Evidence("RMS of the first layer's input", stats.rms, "", LARGE),),
        )
    left = _shrunk(case)
    if left is not None:
        return (
            "weight-scale",
            ": the output has shrunk to a constant",
            ("find the scale (a temperature, a gain) that goes to zero, and bound it",),
            (Evidence("output of the last layer, end / start", left, "", SHRUNK),),
        )
    return (
        "data",
        "",
        (
            "check that inputs and targets belong together (one shuffled without the other?)",
            "try to overfit one batch; if that works, the data is at fault or it needs more steps",
        ),
        (),
    )


# Chinese for the texts above, by template.
ZH = {
    "the loss stands at {a}; the best constant answer scores {b}": (
        "损失停在 {a}；最好的常数答案得 {b}"
    ),
    "loss at the end": "末尾损失",
    "output of the last layer, end / start": "末层输出，结束 / 开始",
    "find the scale (a temperature, a gain) that goes to zero, and bound it": (
        "找出趋于零的缩放量（温度、增益）并加以限制"
    ),
    "try to overfit one batch; if that works, the data is at fault": (
        "尝试过拟合一个批次；若能做到，则是数据的问题"
    ),
    "nothing is learnt from the inputs in {n} steps": "{n} 步之内没有从输入中学到任何东西",
    "nothing is learnt from the inputs in {n} steps: all targets are alike": (
        "{n} 步之内没有从输入中学到任何东西：所有目标都相同"
    ),
    "nothing is learnt from the inputs in {n} steps: inputs are far from unit scale": (
        "{n} 步之内没有从输入中学到任何东西：输入远离单位尺度"
    ),
    "rise of the loss when inputs are rolled against targets": "输入与目标错开后损失的上升",
    "6 batches each way, after the training": "训练之后，两种情形各 6 批",
    "nothing is learnt from the inputs in {n} steps: the output has shrunk to a constant": (
        "{n} 步之内没有从输入中学到任何东西：输出已缩成常数"
    ),
    "distinct targets": "不同目标的个数",
    "RMS of the first layer's input": "首层输入的均方根",
    "check how targets are read: they do not vary": "检查目标的读取方式：它们没有变化",
    "scale the inputs to zero mean and unit variance": "把输入标准化为零均值、单位方差",
    "check that inputs and targets belong together (one shuffled without the other?)": (
        "检查输入与目标是否对应（是否只打乱了其中之一？）"
    ),
    "try to overfit one batch; if that works, the data is at fault or it needs more steps": (
        "尝试过拟合一个批次；若能做到，则是数据的问题，或需要更多步数"
    ),
}
