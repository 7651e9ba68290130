"""G701: single samples drown the signal, shown by replay.

What it checks:
    Where a short training on batches of at most 4 samples fails, the same training with 16
    batches averaged in each step. If that one learns, and a smaller rate does no better, the
    scatter of the batches is the cause.

Why it matters:
    At a given rate, the noise of the gradient sets a floor below which the loss does not fall.

When it is wrong:
    SGD with single samples at a rate that suits it learns, and is left alone.

What to do:
    Larger batches, accumulation, or a smaller rate.

References:
    Bottou (1998); McCandlish et al. (2018) on the noise scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isograd.records import Evidence, Finding, Training
from isograd.rules import proof
from isograd.rules.case import Case

CODE = "G701"
EXPLAINS = ("G301", "G303", "G308", "G402")
REQUIRES = ("training",)

# Fifty times the update ratio at which nets train; and the largest batch that is one sample.
FAR = 0.05
# Steps of less do not walk far in a short training.
MOVING = 0.01
SINGLE = 2


def check(case: Case) -> Iterator[Finding]:
    """One finding if averaged batches learn where single ones do not."""
    replay = proof.proved(case, "draws")
    if replay is None and case.training is not None:
        yield from _random_walk(case, case.training)
    if case.training is not None and case.training.update_ratio() < MOVING:
        return
    if replay is None or case.training is None or not case.failing or case.learns_later:
        return
    samples = case.snapshot.samples or 1
    yield Finding(
        CODE,
        f"noise of {samples} sample(s) a step drowns the signal at this rate: averaged over "
        f"{replay.factor:.0f} batches, the loss ends at {replay.end():.3g}",
        "error",
        "noise",
        evidence=(
            *proof.evidence(case, replay),
            Evidence("samples per step", samples),
            Evidence("learning rate", max(case.training.learning_rate, default=0.0)),
        ),
        advice=(
            "use larger batches, or accumulate gradients over several",
            "or lower the learning rate",
        ),
        confidence=0.8,
    )


def _random_walk(case: Case, training: Training) -> Iterator[Finding]:
    """Steps of single samples in a loop that cannot be run again: far, and nowhere."""
    ratio = training.update_ratio()
    sizes = [layer.samples for layer in case.snapshot.layers]
    alone = len(sizes) > 0 and min(sizes) <= SINGLE
    if training.replays or not case.failing or not alone or not FAR <= ratio < math.inf:
        return
    if training.stopped:
        return  # steps that lead to infinity lead somewhere: G301 says it
    yield Finding(
        CODE,
        f"noise: steps of {100 * ratio:.0f} % of the weights on {case.snapshot.samples or 1} "
        "sample(s) at a time lead nowhere",
        "error",
        "noise",
        evidence=(
            Evidence("median update ratio", ratio, "", FAR, "norm of the update / of the weight"),
            Evidence("samples per step", case.snapshot.samples or 1, "", SINGLE),
        ),
        advice=(
            "use larger batches, or accumulate gradients over several",
            "or lower the learning rate",
        ),
        confidence=0.6,
        step=len(training.loss) - 1,
    )


# Chinese for the texts above, by template.
ZH = {
    "noise: steps of {x} % of the weights on {n} sample(s) at a time lead nowhere": (
        "噪声：每次 {n} 个样本、每步改变权重的 {x} %，却没有进展"
    ),
    "median update ratio": "更新比的中位数",
    "norm of the update / of the weight": "更新量范数 / 权重范数",
    **proof.ZH,
    "noise of {n} sample(s) a step drowns the signal at this rate: averaged over {k} batches, the "
    "loss ends at {a}": (
        "在此学习率下，每步 {n} 个样本的噪声淹没了信号：对 {k} 批取平均，损失降到 {a}"
    ),
    "samples per step": "每步样本数",
    "learning rate": "学习率",
    "use larger batches, or accumulate gradients over several": "增大批次，或累积多个批次的梯度",
    "or lower the learning rate": "或降低学习率",
}
