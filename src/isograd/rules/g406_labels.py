"""G406: labels that no net can learn from.

What it checks:
    Targets of a loss function: classes that are all alike in batches of 16 or more (those that
    are ignored or have weight 0 left out), class indices that there is no output for, targets of
    a binary cross-entropy outside 0 and 1, and labels of 0 and 1 in a margin that is made for
    -1 and 1.

Why it matters:
    With one class the loss falls to 0 and nothing was learnt. With binary targets of 2 the loss
    has no minimum and falls without end. An index out of range raises on a CPU and corrupts a GPU
    process; here it is measured with the nearest class.

When it is wrong:
    Sorted data give batches of one class: shuffle them, which is the same advice. A discriminator
    is shown real and made samples with one label each: with several calls of a loss the labels
    are not compared.

What to do:
    Look at how labels are read, encoded and shuffled.

References:
    The documentation of torch.nn.BCEWithLogitsLoss.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

from isograd.records import Evidence, Finding, LossCall
from isograd.rules.case import Case

CODE = "G406"
EXPLAINS = ("G301", "G303", "G307", "G308", "G402")
REQUIRES: tuple[str, ...] = ()

# Sixteen labels of two balanced classes are alike with a chance of 3e-5.
LABELS = 16
# What puts out logits of classes; similarities (contrastive losses) have the same class by design.
_HEADS = frozenset("linear addmm conv1d conv2d conv3d log_softmax softmax bilinear".split())
# Losses of a product of label and output: a label of 0 gives a constant.
_SIGNED = frozenset(
    "soft_margin_loss hinge_embedding_loss margin_ranking_loss cosine_embedding_loss".split()
)
_HINGES = frozenset("relu relu_ clamp clamp_ clamp_min clamp_min_ maximum softplus".split())
_BINARY = ("binary_cross_entropy", "binary_cross_entropy_with_logits")


def check(case: Case) -> Iterator[Finding]:
    """One finding for each call whose labels cannot be right."""
    for call in case.snapshot.losses:
        if call.name in _BINARY and (call.target.low < 0 or call.target.high > 1):
            yield _range(call)
        if call.name in _SIGNED and (call.target.low, call.target.high) == (0, 1):
            yield _signs(call.name, call.source)
        if call.outside > 0:
            yield _outside(call)
        if call.weighted == 1 and case.training is not None:
            yield _alone(call)
            return
    yield from islice(_hinges(case), 1)
    alone = len(case.snapshot.losses) == 1
    for call in case.snapshot.losses:
        counted = _counted(call) + sum(_counted(c) for c in _later(case, call))
        classes = (
            call.name in ("cross_entropy", "nll_loss")
            and call.integer_target
            and call.upstream in _HEADS
        )
        values = not call.integer_target and case.blind
        judged = classes or call.name in _BINARY or values
        if alone and judged and call.target.distinct == 1 and counted >= LABELS:
            yield from _constant(case, call)


def _hinges(case: Case) -> Iterator[Finding]:
    """A hinge by hand, max(0, 1 - label * output), whose labels are 0 and 1."""
    ops = case.snapshot.ops
    for op in ops:
        if op.name not in _HINGES or op.module or not op.on_path:
            continue
        for index in case.reads(op.index):
            within = ops[index]
            if within.name.strip("_") not in ("rsub", "sub"):
                continue
            for factor in (ops[i] for i in case.reads(index)):
                if factor.masked is not None and 0 < factor.masked < 1:
                    yield _signs(op.name, factor.source)


def _signs(name: str, source: str | None) -> Finding:
    return Finding(
        CODE,
        f"labels of the margin in `{name}` are 0 and 1; it is made for -1 and 1",
        "error",
        "labels",
        where=(name,),
        source=source,
        evidence=(Evidence("smallest target", 0.0, "", -1.0),),
        advice=("map the labels to -1 and 1: `2 * y - 1`",),
        confidence=0.9,
    )


def _range(call: LossCall) -> Finding:
    high = call.target.high
    return Finding(
        CODE,
        f"targets of `{call.name}` reach from {call.target.low:g} to {high:g}; it is made for 0 "
        "to 1",
        "error",
        "labels",
        where=(call.name,),
        source=call.source,
        evidence=(
            Evidence("largest target", high, "", 1.0),
            Evidence("smallest target", call.target.low, "", 0.0),
        ),
        advice=("map the labels to 0 and 1", "or use `cross_entropy` with class indices"),
        confidence=0.95,
    )


def _alone(call: LossCall) -> Finding:
    return Finding(
        CODE,
        f"only one class of `{call.name}` has a weight: all labels that count are alike",
        "error",
        "labels",
        where=(call.name,),
        source=call.source,
        evidence=(Evidence("classes with a weight above 0", 1.0, "", 2.0),),
        advice=("check `weight=`: each class needs one above 0",),
        confidence=0.95,
    )


def _outside(call: LossCall) -> Finding:
    classes = call.input_shape[1 if len(call.input_shape) > 1 else 0]
    low, high = call.target.low, call.target.high
    return Finding(
        CODE,
        f"labels reach from {low:g} to {high:g}; the net has {classes} outputs, 0 to {classes - 1}",
        "error",
        "labels",
        where=(call.name,),
        source=call.source,
        evidence=(
            Evidence("share of the labels out of range", call.outside, "", 0.0),
            Evidence("largest label", high, "", float(classes - 1)),
            Evidence("smallest label", low, "", 0.0),
        ),
        advice=(
            "count classes from 0, or give the last layer one output for each class",
            "pass `ignore_index=` for labels that mean nothing",
        ),
        confidence=0.99,
    )


def _counted(call: LossCall) -> int:
    """Labels of a call that take part in the loss."""
    return round(math.prod(call.target_shape) * (1 - call.ignored_fraction))


def _later(case: Case, call: LossCall) -> list[LossCall]:
    """The same call at the end of the training."""
    end = case.training.end if case.training else None
    return [c for c in end.losses if c.name == call.name] if end else []


def _constant(case: Case, call: LossCall) -> Iterator[Finding]:
    later, counted = _later(case, call), _counted(call)
    if case.training is not None and case.training.labels_vary:
        return  # a rare class, seen at other steps
    if any(c.target.distinct > 1 or c.target.mean != call.target.mean for c in later):
        return
    if call.ignored_fraction == 1:
        return  # G401 says it
    yield Finding(
        CODE,
        f"all {counted} labels of the batch are {call.target.mean:g}",
        "error",
        "labels",
        where=(call.name,),
        source=call.source,
        evidence=(Evidence("distinct labels", 1.0, "", 2.0, "at the start and at the end"),),
        advice=("check how labels are read: they do not vary", "shuffle the data"),
        confidence=0.9,
    )


# Chinese for the texts above, by template.
ZH = {
    "targets of `{name}` reach from {a} to {b}; it is made for 0 to 1": (
        "`{name}` 的目标在 {a} 到 {b} 之间；它只适用于 0 到 1"
    ),
    "all {n} labels of the batch are {x}": "这一批的 {n} 个标签全是 {x}",
    "only one class of `{name}` has a weight: all labels that count are alike": (
        "`{name}` 只有一个类别有权重：起作用的标签全都相同"
    ),
    "classes with a weight above 0": "权重大于 0 的类别数",
    "check `weight=`: each class needs one above 0": "检查 `weight=`：每个类别的权重都应大于 0",
    "labels reach from {a} to {b}; the net has {n} outputs, 0 to {m}": (
        "标签在 {a} 到 {b} 之间；网络有 {n} 个输出，编号 0 到 {m}"
    ),
    "share of the labels out of range": "超出范围的标签比例",
    "largest label": "最大标签",
    "smallest label": "最小标签",
    "count classes from 0, or give the last layer one output for each class": (
        "类别从 0 开始编号，或让最后一层为每个类别提供一个输出"
    ),
    "pass `ignore_index=` for labels that mean nothing": "对无意义的标签传入 `ignore_index=`",
    "labels of the margin in `{name}` are 0 and 1; it is made for -1 and 1": (
        "`{name}` 的间隔损失的标签是 0 和 1；它适用于 -1 和 1"
    ),
    "map the labels to -1 and 1: `2 * y - 1`": "把标签映射到 -1 和 1：`2 * y - 1`",
    "largest target": "最大目标",
    "smallest target": "最小目标",
    "distinct labels": "不同标签的个数",
    "at the start and at the end": "在开始和结束时",
    "map the labels to 0 and 1": "把标签映射到 0 和 1",
    "or use `cross_entropy` with class indices": "或用类别索引配合 `cross_entropy`",
    "check how labels are read: they do not vary": "检查标签的读取方式：它们没有变化",
    "shuffle the data": "打乱数据顺序",
}
