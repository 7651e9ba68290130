"""G108: tokens or samples become alike on the way through the net.

What it checks:
    The share of a layer's output that differs between tokens, and between samples, where data
    differ and the first layers still tell them apart. Where two outputs of one layer are compared
    with each other, also how far apart samples are after a short training; and in a net without
    targets, whether all outputs have run to one point and the loss has gone to nothing with that.

Why it matters:
    What is alike cannot be told apart by any later layer, and queries and keys of tokens that
    are alike get no gradient. A branch beside a skip path may make them alike: what differs again
    behind it was not lost.

When it is wrong:
    A net that pools on purpose has no token dimension after that. Where the net learns all the
    same, this only explains.

What to do:
    Residual connections around attention and graph convolutions; fewer layers; branches scaled
    so that the skip path leads.

References:
    Dong et al. (2021); Noci et al. (2022); Li et al. (2018) on oversmoothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isograd.records import Evidence, Finding, Op
from isograd.records.training import end_of
from isograd.rules.case import Case
from isograd.rules.g101_vanishing import DECADES, SIGMAS

CODE = "G108"
EXPLAINS = ("G303", "G402", "G408")
REQUIRES: tuple[str, ...] = ()

# Healthy nets keep a tenth or more between samples and tokens at the start; collapsed ones less
# than a thousandth (benchmarks/diagnosis, dev half).
ALIKE = 0.01
# A training that does not use its inputs and has lost six sevenths of the difference is
# explained by that.
ALIKE_FAILING = 0.15
APART = 0.1
# Depth from which a gradual loss of difference is called collapse.
DEEP = 6
_MIXING = ("weight", "attention", "recurrence")
# A millionth of the norm is below what a head can tell apart in float32 after a norm or two.
GONE = 1e-4
# All samples near one point, by size and by share, with the loss at a fiftieth of its start.
POINT = 0.02
SHRUNK = 0.25
# What compares two outputs with each other.
_PAIRS = ("sub", "__sub__", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")


def check(case: Case) -> Iterator[Finding]:
    """One finding for tokens, else one for samples."""
    for what in ("tokens", "between"):
        ops = [op for op in case.snapshot.ops if _share(op, what) is not None and op.on_path]
        if len(ops) < 2 or (_share(ops[0], what) or 0.0) < APART:
            continue
        worst = min(ops[1:], key=lambda op: _share(op, what) or 0.0, default=None)
        if worst is None or _comes_back(ops, worst, what):
            continue
        left, first = _share(worst, what) or 0.0, _share(ops[0], what) or 1.0
        if what == "between":
            first = max(first, _data(case))
        gradual = (
            (case.blind or _whole(case))
            and not case.learns_later
            and _depth(case, ops[0], worst) >= DEEP
            and left < ALIKE_FAILING * first
        )
        whole = what == "tokens" or worst is not ops[-1]
        if ((left < ALIKE and whole) or gradual) and not _erased(worst):
            yield _finding(case, what, ops[0], worst, left)
            return
    yield from _later(case)
    yield from _views(case)


def _comes_back(ops: list[Op], worst: Op, what: str) -> bool:
    """True if what is alike here differs again further on: a skip path has led around it."""
    left = _share(worst, what) or 0.0
    later = max((_share(op, what) or 0.0 for op in ops if op.index > worst.index), default=0.0)
    return later >= APART and later > left / ALIKE_FAILING


def _whole(case: Case) -> bool:
    """True if a failing training sees the same whole data at each step, as on one graph.

    Then the use of inputs is known without scatter and says nothing.
    """
    return case.failing and case.training is not None and case.training.uses == math.inf


def _depth(case: Case, first: Op, last: Op) -> int:
    """Products with weights, or with a graph, from one op to another."""
    between = case.snapshot.ops[first.index : last.index + 1]
    return sum(op.on_path and op.kind in _MIXING for op in between)


def _share(op: Op, what: str) -> float | None:
    return getattr(op.output, what) if op.output else None


def _data(case: Case) -> float:
    """The share of the data themselves that differs between samples."""
    shares = [op.inputs.between or 0.0 for op in case.snapshot.ops if op.inputs and not op.sources]
    return max(shares, default=0.0)


def _erased(op: Op) -> bool:
    """True for an output of exactly one value, which other rules explain."""
    return op.output is None or op.output.rms == 0


def _later(case: Case) -> Iterator[Finding]:
    """One finding if a net without targets has made the results of all samples alike."""
    end = case.training.end if case.training else None
    if end is None or case.supervised or len(end.ops) != len(case.snapshot.ops):
        return
    measured = [op.index for op in end.ops if op.output and op.output.between is not None]
    if not measured:
        return
    last = measured[-1]
    before, after = case.snapshot.ops[last].output, end.ops[last].output
    if before is None or after is None or not before.between or after.between is None:
        return
    alike = after.between < ALIKE and after.between < APART * before.between
    op = end.ops[last]
    if not alike and _trivial(case, last, before.between, after.between):
        sizes = _apart(op), _apart(case.snapshot.ops[last])
        yield Finding(
            CODE,
            f"all samples are drawn to one point: what differs between them in the output of "
            f"`{op.module or op.name}` falls to {100 * sizes[0] / sizes[1]:.2g} %, and the loss "
            "with it",
            "error",
            "rank-collapse",
            where=(op.module or op.name,),
            source=op.source,
            evidence=(
                Evidence("size of what differs between samples", sizes[0], "", POINT * sizes[1]),
                Evidence("the same at the start", sizes[1]),
                Evidence("loss as it stands", end_of(case.training.loss) if case.training else 0),
            ),
            advice=(
                "give the loss something that pushes samples apart: negatives, a variance term",
            ),
            confidence=0.8,
            step=len(case.training.loss) if case.training else 0,
        )
    elif alike and after.rms > 0:
        yield Finding(
            CODE,
            f"all samples get the same output: {100 * after.between:.2g} % of the output of "
            f"`{op.module or op.name}` differs between them at the end of the training",
            "error",
            "rank-collapse",
            where=(op.module or op.name,),
            source=op.source,
            evidence=(
                Evidence("share that differs between samples", after.between, "", ALIKE),
                Evidence("the same at the start", before.between),
            ),
            advice=(
                "give the loss something that pushes samples apart: negatives, a variance term",
            ),
            confidence=0.85,
            step=len(case.training.loss) if case.training else 0,
        )


def _trivial(case: Case, last: int, before: float, after: float) -> bool:
    """True if a loss without targets goes to nothing, and with it what differs between samples."""
    training = case.training
    if training is None or training.end is None:
        return False
    shrunk = _apart(training.end.ops[last]) < POINT * _apart(case.snapshot.ops[last])
    left = abs(end_of(training.loss)) < POINT * abs(case.start)
    return shrunk and left and after < SHRUNK * before


def _views(case: Case) -> Iterator[Finding]:
    """One finding if two outputs of one layer are drawn together until samples are one point."""
    end = case.training.end if case.training else None
    if end is None or len(end.ops) != len(case.snapshot.ops):
        return
    for op in case.snapshot.ops:
        pair = [case.snapshot.ops[i] for i in sorted(case.reads(op.index))]
        if op.name not in _PAIRS or len(pair) != 2 or pair[0].module != pair[1].module:
            continue
        at = pair[0].index
        before, after = _apart(case.snapshot.ops[at]), _apart(end.ops[at])
        if before > 0 and after < APART * before:
            yield Finding(
                CODE,
                f"two outputs of `{pair[0].module}` are drawn together, and samples become alike: "
                f"what differs between them falls to {100 * after / before:.2g} %",
                "error",
                "rank-collapse",
                where=(pair[0].module,),
                source=op.source,
                evidence=(
                    Evidence("size of what differs between samples", after, "", APART * before),
                    Evidence("the same at the start", before),
                ),
                advice=(
                    "give the loss something that pushes samples apart: negatives, a variance term",
                    "or stop the gradient on one side and put a predictor on the other",
                ),
                confidence=0.8,
                step=len(case.training.loss) if case.training else 0,
            )
            return


def _apart(op: Op) -> float:
    """Size of what differs between the samples of an output."""
    return (op.output.between or 0.0) * op.output.rms if op.output else 0.0


def _finding(case: Case, what: str, first: Op, worst: Op, left: float) -> Finding:
    noun = "tokens" if what == "tokens" else "samples"
    bad = case.failing or (case.poor and left < GONE and not case.learns_later)
    severity = "error" if bad else "warning" if case.training is None else "info"
    if severity == "error" and what == "between" and _squashed(case):
        severity = "warning"  # G101 names what makes them alike
    name = worst.module or worst.name
    return Finding(
        CODE,
        f"{noun} become alike: {100 * left:.2g} % of the output of `{name}` differs between them",
        severity,
        "rank-collapse" if severity != "info" else "none",
        where=tuple(dict.fromkeys((name, first.module or first.name))),
        source=worst.source,
        evidence=(
            Evidence(
                f"share that differs between {noun}",
                left,
                "",
                ALIKE_FAILING if case.failing else ALIKE,
                "norm of what differs / norm of all, at the start",
            ),
            Evidence("the same at the first layer", _share(first, what) or 0.0),
        ),
        advice=(
            "add residual connections around attention or graph convolutions",
            "use fewer layers, or scale branches so that the skip path leads",
        ),
        confidence=0.85 if case.failing else 0.6,
    )


def _squashed(case: Case) -> bool:
    """True if activations of small slope lose the gradient, as they lose what differs."""
    hidden = case.hidden
    if hidden is None or hidden.decades > -max(DECADES, SIGMAS * hidden.noise):
        return False
    return next(iter(hidden.blame()), "") == "activation"


# Chinese for the texts above, by template.
ZH = {
    "loss as it stands": "不作改变时的损失",
    "all samples are drawn to one point: what differs between them in the output of `{m}` falls "
    "to {x} %, and the loss with it": (
        "所有样本被拉到一点：`{m}` 的输出中样本之间的差别降到 {x} %，损失也随之降低"
    ),
    "all samples get the same output: {x} % of the output of `{name}` differs between them at the "
    "end of the training": (
        "所有样本得到相同的输出：训练结束时 `{name}` 的输出中只有 {x} % 在样本之间有差别"
    ),
    "two outputs of `{m}` are drawn together, and samples become alike: what differs between them "
    "falls to {x} %": "`{m}` 的两个输出被拉到一起，样本趋于相同：样本间的差异降到 {x} %",
    "size of what differs between samples": "样本间差异的大小",
    "or stop the gradient on one side and put a predictor on the other": (
        "或在一侧停止梯度，在另一侧加预测器"
    ),
    "the same at the start": "开始时的同一数值",
    "share that differs between samples": "在样本之间有差别的比例",
    "give the loss something that pushes samples apart: negatives, a variance term": (
        "在损失中加入把样本推开的项：负样本、方差项"
    ),
    "tokens become alike: {x} % of the output of `{name}` differs between them": (
        "词元趋于相同：`{name}` 的输出中只有 {x} % 在词元之间有差别"
    ),
    "samples become alike: {x} % of the output of `{name}` differs between them": (
        "样本趋于相同：`{name}` 的输出中只有 {x} % 在样本之间有差别"
    ),
    "share that differs between {noun}": "在 {noun} 之间有差别的比例",
    "norm of what differs / norm of all, at the start": "差异部分的范数 / 总范数，训练开始时",
    "the same at the first layer": "首层的同一数值",
    "add residual connections around attention or graph convolutions": (
        "在注意力或图卷积外加残差连接"
    ),
    "use fewer layers, or scale branches so that the skip path leads": (
        "减少层数，或缩放分支，让残差通路占主导"
    ),
}
