"""G408: samples of a batch see each other.

What it checks:
    In evaluation mode, whether the outputs for the first half of a batch change when the second
    half is replaced, where the short training fails.

Why it matters:
    A layer that takes the batch for the sequence, a view that mixes dimensions, or a softmax
    over the batch makes each answer depend on its neighbours, which differ at the next step.

When it is wrong:
    Samples that are each other's classes (a contrastive loss) are left out. Nodes of a graph,
    members of a set and steps of a time-first sequence see each other by design; where the net
    learns with that, this is quiet.

What to do:
    Check `batch_first`, `view` where `transpose` is meant, and `dim=` of softmax and norms.

References:
    Ben Braiek and Khomh (2023, TheDeepChecker) for the dependence between instances.
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.rules.case import Case

CODE = "G408"
EXPLAINS = ("G402",)
REQUIRES = ("training",)

LEAK = 0.5


def check(case: Case) -> Iterator[Finding]:
    """One finding if most rows change with others."""
    leak = case.training.leak if case.training else None
    if leak is None or leak <= LEAK or not case.failing or case.contrastive:
        return
    yield Finding(
        CODE,
        f"samples see each other: {100 * leak:.0f} % of the outputs change when other samples of "
        "the batch do",
        "error",
        "loss-shape",
        evidence=(
            Evidence(
                "share of outputs that depend on other samples",
                leak,
                "",
                LEAK,
                "second half of the batch replaced, in evaluation mode",
            ),
        ),
        advice=(
            "check `batch_first=True` of recurrent and attention layers",
            "check each `view` and `reshape`: is a `transpose` meant?",
        ),
        confidence=0.7,
    )


# Chinese for the texts above, by template.
ZH = {
    "samples see each other: {x} % of the outputs change when other samples of the batch do": (
        "样本彼此影响：改变批次中其他样本时，{x} % 的输出随之改变"
    ),
    "share of outputs that depend on other samples": "依赖其他样本的输出比例",
    "second half of the batch replaced, in evaluation mode": "替换批次的后一半，评估模式",
    "check `batch_first=True` of recurrent and attention layers": (
        "检查循环层和注意力层的 `batch_first=True`"
    ),
    "check each `view` and `reshape`: is a `transpose` meant?": (
        "检查每个 `view` 和 `reshape`：是否应为 `transpose`？"
    ),
}
