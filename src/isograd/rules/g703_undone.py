"""G703: the training comes undone, or stands still, by its schedule or by writes to the weights.

What it checks:
    Three histories. The rate grows while the loss rises again above its best. The rate decays to
    a hundredth within half of the steps while the loss is hardly lower. Weights grow between one
    step's end and the next one's start, where no optimizer works. In a check, where a scheduler
    that the loop steps keeps the rate at a few hundredths of its start or at 0, the training is
    run again at the rate that the schedule starts from: it must end far lower.

Why it matters:
    The start looks fine; the loop around the optimizer does the harm.

When it is wrong:
    A warm-up raises the rate while the loss falls. A cosine schedule spends a twentieth of its
    steps below a hundredth. Averages and constraints write to weights and do not make them grow.

What to do:
    Check the schedule's factor per step, and who else writes to the weights.

References:
    Loshchilov and Hutter (2017) for schedules.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from isograd.records import Evidence, Finding, Training
from isograd.records.finding import Cause
from isograd.records.training import end_of
from isograd.rules import proof
from isograd.rules.case import Case

CODE = "G703"
EXPLAINS = ("G106", "G301", "G303", "G308", "G402", "G701")
REQUIRES = ("training",)

MINIMUM = 20
# A loss this much above its best five-step median, and half of what it started with, has risen.
RISEN = 1.5
GREW = 3.0
# What is undone altogether needs a smaller rise of the rate to be told from scatter.
UNDONE = 10.0
GREW_UNDONE = 1.5
# Decayed: below this share of the largest rate for half of the steps.
LOW = 1e-2
OUTSIDE = 2.0
# The replay at a kept rate takes this share off the loss that the schedule leaves: as for every
# setting of a training that learns a little.
TAKEN = proof.SHARE_POOR
REPLAY = "schedule"


def check(case: Case) -> Iterator[Finding]:
    """One finding for the first history that fits."""
    training = case.training
    if training is None or len(training.loss) < MINIMUM:
        return
    kept = case.replay(REPLAY)
    if kept is not None and case.gain(kept) > TAKEN and not case.solved:
        rates = training.learning_rate
        share = sum(rates) / len(rates) / max(rates) if any(rates) else 0.0
        yield _finding(
            case,
            f"the schedule takes the rate away: kept at what it starts from, the loss ends at "
            f"{kept.end():.3g} instead of {end_of(training.loss):.3g}",
            "learning-rate",
            Evidence("mean of the rates / the largest of them", share),
            "step the scheduler once per epoch, or decay more slowly",
            *proof.evidence(case, kept),
        )
        return
    grown = _outside(training)
    if grown > OUTSIDE:
        yield _finding(
            case,
            f"weights grow {grown:.3g} times between the optimizer's steps, not by them",
            "weight-decay",
            Evidence("growth outside of the optimizer", grown, "", OUTSIDE, "largest parameter"),
            "look for writes to the weights in the loop (`.data.mul_`, a decay of the wrong sign)",
        )
        return
    best = _best(training.loss)
    end = median(training.loss[-5:])
    rates = training.learning_rate
    if end > RISEN * abs(best[0]) and end > 0.5 * abs(case.start) and len(rates) > best[1]:
        factor = max(rates[best[1] :]) / rates[best[1]] if rates[best[1]] else 1.0
        if factor > (GREW_UNDONE if end > UNDONE * abs(best[0]) else GREW):
            yield _finding(
                case,
                f"the loss rises again, to {end:.3g} after {best[0]:.3g}, while the rate grows "
                f"{factor:.3g} times",
                "learning-rate",
                Evidence("growth of the rate since the best loss", factor, "", GREW),
                "keep the rate at what it was at the best loss",
            )
            return
    top = max(rates, default=0.0)
    after = rates[rates.index(top) :] if top else ()
    low = sum(rate < LOW * top for rate in after) / len(rates) if rates else 0.0
    if low > 0.5 and end > 0.75 * abs(case.start):
        yield _finding(
            case,
            f"the rate decays too fast: below a hundredth of its start for {100 * low:.0f} % of "
            "the steps",
            "learning-rate",
            Evidence("share of the steps at less than a hundredth of the rate", low, "", 0.5),
            "step the scheduler once per epoch, or decay more slowly",
        )


def _best(loss: tuple[float, ...]) -> tuple[float, int]:
    """Lowest five-step median, and where its window ends."""
    medians = [(median(loss[i : i + 5]), i + 4) for i in range(len(loss) - 4)]
    return min(medians)


def _outside(training: Training) -> float:
    """Largest growth of a weight that its updates cannot explain, over the training.

    Where only some steps were recorded whole, those between them may have updated it: 1.
    """
    largest = 1.0
    for track in training.parameters.values():
        if len(track.weight) < len(training.loss) - 1:
            continue
        product = 1.0
        for now, after, update in zip(track.weight, track.weight[1:], track.update, strict=False):
            reached = now + update  # a norm grows by the norm of the update at most
            if reached > 0 and after > reached:
                product *= after / reached
        largest = max(largest, product)
    return largest


def _finding(
    case: Case, title: str, cause: Cause, evidence: Evidence, advice: str, *more: Evidence
) -> Finding:
    assert case.training is not None
    return Finding(
        CODE,
        title,
        "error",
        cause,
        evidence=(evidence, *more, Evidence("loss at the end", case.training.loss[-1])),
        advice=(advice,),
        confidence=0.85,
        step=0,
    )


# Chinese for the texts above, by template.
ZH = proof.ZH | {
    "the schedule takes the rate away: kept at what it starts from, the loss ends at {a} instead "
    "of {b}": "调度把学习率降没了：保持在起始值时，损失可降到 {a} 而不是 {b}",
    "mean of the rates / the largest of them": "学习率的平均值 / 最大值",
    "weights grow {x} times between the optimizer's steps, not by them": (
        "权重在优化器的两次更新之间增长了 {x} 倍，并非由更新造成"
    ),
    "growth outside of the optimizer": "优化器之外的增长",
    "largest parameter": "增长最大的参数",
    "look for writes to the weights in the loop (`.data.mul_`, a decay of the wrong sign)": (
        "检查循环中对权重的写入（`.data.mul_`、符号错误的衰减）"
    ),
    "the loss rises again, to {a} after {b}, while the rate grows {x} times": (
        "学习率增长 {x} 倍的同时，损失从 {b} 回升到 {a}"
    ),
    "growth of the rate since the best loss": "自最低损失以来学习率的增长",
    "keep the rate at what it was at the best loss": "把学习率保持在损失最低时的值",
    "the rate decays too fast: below a hundredth of its start for {x} % of the steps": (
        "学习率衰减过快：{x} % 的步数低于起始值的百分之一"
    ),
    "share of the steps at less than a hundredth of the rate": "学习率低于百分之一的步数比例",
    "step the scheduler once per epoch, or decay more slowly": (
        "每个 epoch 调用一次调度器，或放慢衰减"
    ),
    "loss at the end": "末尾损失",
}
