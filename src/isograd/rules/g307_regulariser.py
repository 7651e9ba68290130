"""G307: the loss pulls at the size of the weights and not at the data.

What it checks:
    The cosine between each weight and its gradient over a short training. A penalty on the
    norm has a gradient along the weight itself; a data term hardly has.

Why it matters:
    Weights shrink (or grow) whatever the data say.

When it is wrong:
    A classifier that separates its data is pulled the other way, to larger weights, with a cosine
    near -1; only the pull to smaller ones counts.

What to do:
    Lower the factor of the penalty until the data term leads.

References:
    Krogh and Hertz (1992).
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from isograd.records import Evidence, Finding
from isograd.records.training import Replay
from isograd.rules import proof
from isograd.rules.case import STANDARD_ERRORS, Case

CODE = "G307"
EXPLAINS = ("G112", "G303", "G308", "G402")
REQUIRES = ("training",)
COSINE = 0.6
MINIMUM_STEPS = 5


def check(case: Case) -> Iterator[Finding]:
    """One finding if most weights are pulled along themselves."""
    training = case.training
    if training is None or len(training.loss) < MINIMUM_STEPS:
        return
    replay = proof.released(case, "penalty")
    if replay is not None:
        yield _released(case, replay)
        return
    shapes = case.snapshot.parameters
    tracks = [
        median(track.radial)
        for name, track in training.parameters.items()
        if track.radial and name in shapes and len(shapes[name].shape) > 1
    ]
    if len(tracks) < 2 or median(tracks) < COSINE:
        return
    yield Finding(
        CODE,
        "the gradient points along the weights: a penalty on their size outweighs the data",
        "error",
        "regularization",
        evidence=(
            Evidence(
                "cosine of weight and gradient", median(tracks), "", COSINE, "median of weights"
            ),
        ),
        advice=("lower the factor of the penalty in the loss until the data term leads",),
        confidence=0.85,
    )


def _released(case: Case, replay: Replay) -> Finding:
    uses = case.training.uses if case.training else None
    return Finding(
        CODE,
        "one term of the loss outweighs the rest: left out, the net learns from its inputs",
        "error",
        "regularization",
        evidence=(
            Evidence(
                "rise of the loss when inputs are rolled against targets, without the term",
                replay.uses or 0.0,
                "standard errors",
                2 * STANDARD_ERRORS,
                "after a replay of the short training",
            ),
            Evidence("the same as it stands", uses or 0.0, "standard errors", STANDARD_ERRORS),
        ),
        advice=("lower the factor of that term (a penalty, a KL term) until the data term leads",),
        confidence=0.85,
    )


# Chinese for the texts above, by template.
ZH = {
    "one term of the loss outweighs the rest: left out, the net learns from its inputs": (
        "损失中的某一项压过了其余各项：去掉它之后，网络能从输入中学习"
    ),
    "rise of the loss when inputs are rolled against targets, without the term": (
        "去掉该项后，输入与目标错开时损失的上升"
    ),
    "after a replay of the short training": "重放短训练之后",
    "the same as it stands": "不作改变时的同一数值",
    "lower the factor of that term (a penalty, a KL term) until the data term leads": (
        "降低该项（惩罚项、KL 项）的系数，直到数据项占主导"
    ),
    "the gradient points along the weights: a penalty on their size outweighs the data": (
        "梯度沿着权重方向：对权重大小的惩罚压过了数据项"
    ),
    "cosine of weight and gradient": "权重与梯度夹角的余弦",
    "median of weights": "各权重的中位数",
    "lower the factor of the penalty in the loss until the data term leads": (
        "降低损失中惩罚项的系数，直到数据项占主导"
    ),
}
