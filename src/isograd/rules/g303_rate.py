"""G303: the learning rate keeps the net from learning, shown by replay.

What it checks:
    Where a short training does not lower the loss, the same training is run again on fresh
    copies with smaller rates and, where weights hardly move, with rates that move them by 0.1 to
    1 % a step. If one of them lowers the loss clearly, the rate is the cause: too high if a
    smaller one helps, too low if only larger ones help while the updates are tiny. Beside it
    stand the sharpness, measured by Hessian-vector products on one batch (for Adam and its like
    over their own scale), and the largest rate that is stable there.
    In a loop that cannot be run again (`watch`), the slope of the loss along each update, before
    and after it: rate times curvature, above 2 for eight steps in a row without a lower loss.

Why it matters:
    The gradient may be perfect and nothing is learnt.

When it is wrong:
    A warm-up that starts at rate 0: a rate that a scheduler holds down is left alone. A problem
    that is solved already has nothing to gain, and no replay helps.

What to do:
    Use the rate that helped in the replay.

References:
    Bengio (2012) on the update ratio of about 1e-3; Smith (2017) on range tests; Cohen et al.
    (2021, 2022) on sharpness and the largest stable rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from isograd.records import Evidence, Finding, Training
from isograd.records.training import FELL, STANDARD_ERRORS, Replay, end_of, thrown_up
from isograd.rules import proof
from isograd.rules.case import Case

CODE = "G303"
EXPLAINS = ("G106", "G108", "G308", "G402")
REQUIRES = ("training",)

# A replay counts if it takes this share off the loss that the user's rate leaves. Weights that
# hardly moved leave no doubt; against a rate that moves them the scatter of batches counts too.
# Healthy trainings that learn and move by a hundredth a step end higher at a tenth of their rate
# (benchmarks/diagnosis, dev half).
GAIN_LOW = 0.1
GAIN_HIGH = 0.2
# An update of a hundred-thousandth of the weight per step: a hundred times below the field's
# rule of thumb. Fine-tuning at 1e-5 with Adam moves weights fifty times faster.
TINY = 1e-5
# A tenth of that rule of thumb: too low only if four times the steps do not help either.
SLOW = 1e-4
# Rate times curvature at which a step lands as high as it started, over this many steps.
LIMIT = 2.0
STEPS = 8
# A net that has converged rattles in its valley with steps smaller than this.
MOVES = 1e-2


def check(case: Case) -> Iterator[Finding]:
    """One finding for a rate that another one beats."""
    training = case.training
    if training is None or training.scheduled:
        return
    replays = [r for r in training.replays if r.change == "rate"]
    if not training.replays:
        yield from _unstable(case, training)
        return
    if case.solved:
        return
    left = end_of(training.loss)
    moves = training.update_ratio() > MOVES
    share = GAIN_HIGH if case.failing or moves else proof.SHARE_POOR
    helped = {
        replay.factor: replay.end()
        for replay in replays
        if case.gain(replay) > _gain(replay.factor, share) or _wakes(training, replay)
    }
    if not helped:
        return
    factor = min(helped, key=lambda f: helped[f])
    if factor < 1 and case.learns_later and not _beaten(training, helped[factor], share):
        return  # a plateau that it leaves by itself
    other = proof.specific(case)
    if other is not None and other.end() < (1 + GAIN_LOW) * helped[factor]:
        return  # something more specific explains as much
    update = training.update_ratio()
    still = case.failing and not case.learns_later and not case.uses_later
    slow = SLOW if still else TINY
    if factor > 1 and update > slow:
        return
    if training.stopped and factor < 1:
        return  # G301 says it
    too = "high" if factor < 1 else "low"
    yield Finding(
        CODE,
        f"learning rate too {too}: {factor:g} times the rate ends at a loss of "
        f"{helped[factor]:.3g} instead of {left:.3g}",
        "error",
        "learning-rate",
        evidence=(
            Evidence(
                "loss with the replayed rate", helped[factor], "", (1 - _gain(factor, share)) * left
            ),
            Evidence("median update ratio", update, "", slow if factor > 1 else None),
            Evidence("learning rate", max(training.learning_rate, default=0.0)),
        ),
        advice=(f"multiply the learning rate by {factor:g}",),
        confidence=0.9,
        step=len(training.loss) - 1,
    )


def _beaten(training: Training, end: float, share: float) -> bool:
    """True for a start that throws the loss far up and is not made good in the time after it."""
    longer = [r.end() for r in training.replays if r.change == "longer"]
    return thrown_up(training.loss) and end < (1 - share) * min(longer, default=0.0)


def _unstable(case: Case, training: Training) -> Iterator[Finding]:
    """A stretch of steps, each of which lands higher than it started."""
    windows = [
        median(training.secant[i : i + STEPS]) for i in range(len(training.secant) - STEPS + 1)
    ]
    worst = max(windows, default=0.0)
    moves = training.update_ratio() > MOVES
    if not worst > LIMIT or not case.failing or not moves:
        return
    yield Finding(
        CODE,
        f"learning rate above the limit of stability: rate times curvature is {worst:.2f}, limit 2",
        "error",
        "learning-rate",
        evidence=(
            Evidence("rate times curvature along the step", worst, "", LIMIT, "median of 8 steps"),
            Evidence("learning rate", max(training.learning_rate, default=0.0)),
        ),
        advice=(f"divide the learning rate by {max(3, round(2 * worst / LIMIT))} and run again",),
        confidence=0.8,
        step=len(training.loss) - 1,
    )


def _wakes(training: Training, replay: Replay) -> bool:
    """True for a larger rate after which the net uses its inputs as it did not."""
    if replay.factor < 1 or training.uses is None or training.uses >= STANDARD_ERRORS:
        return False
    lower = replay.end() < (1 - FELL) * end_of(training.loss)
    return lower and (replay.uses or 0.0) > 2 * STANDARD_ERRORS


def _gain(factor: float, share: float) -> float:
    return GAIN_LOW if factor > 1 else share


# Chinese for the texts above, by template.
ZH = {
    "learning rate above the limit of stability: rate times curvature is {x}, limit 2": (
        "学习率超过稳定极限：学习率乘以曲率为 {x}，极限是 2"
    ),
    "rate times curvature along the step": "沿更新方向的学习率乘以曲率",
    "median of 8 steps": "8 步的中位数",
    "divide the learning rate by {n} and run again": "把学习率除以 {n} 后再试",
    "learning rate too high: {f} times the rate ends at a loss of {a} instead of {b}": (
        "学习率过高：用 {f} 倍的学习率，损失可降到 {a} 而不是 {b}"
    ),
    "learning rate too low: {f} times the rate ends at a loss of {a} instead of {b}": (
        "学习率过低：用 {f} 倍的学习率，损失可降到 {a} 而不是 {b}"
    ),
    "loss with the replayed rate": "以该学习率重放后的损失",
    "median update ratio": "更新比的中位数",
    "learning rate": "学习率",
    "multiply the learning rate by {f}": "把学习率乘以 {f}",
}
