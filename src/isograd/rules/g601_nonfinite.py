"""G601: NaN or infinity, and the op where it began.

What it checks:
    Whether the loss, an activation or a gradient is NaN or infinite; in the forward pass the
    first op whose output is while its input is not, in the backward pass the first op at which
    such a gradient arrives or is made. The step is run again op by op for it: a check does so at
    once, a watch if the step was kept (`isograd run --replay` keeps every one); then faults
    between the backward pass and the optimizer, and in the optimizer's step, are located too.

Why it matters:
    One NaN in a gradient makes every weight NaN after the next step.

When it is wrong:
    An attention mask of -inf is infinite on purpose. Infinities count only if the loss or a
    gradient is not finite.

What to do:
    Guard the op named: eps inside log, sqrt and division; `where` around both the condition and
    the argument; a smaller rate or a wider dtype for overflow.

References:
    The notes of PyTorch on gradients of non-differentiable functions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from isograd.records import Evidence, Finding, Op, Snapshot, Training
from isograd.records.bad_step import BadStep
from isograd.records.finding import Cause
from isograd.rules.bad_steps import HALF, found
from isograd.rules.bad_steps import ZH as FOUND_ZH
from isograd.rules.case import Case, span
from isograd.rules.trend import runs_away

CODE = "G601"
EXPLAINS = (
    *("G101", "G102", "G103", "G104", "G105", "G106", "G108", "G112", "G301", "G303", "G402"),
    *("G403", "G603", "G604", "G606"),
)
REQUIRES: tuple[str, ...] = ()


# A weight of the loss that only a loss scaler gives.
SCALED = 1024.0
_CLEAN = (
    "clean the data: `torch.isfinite(x).all()` before the model",
    "check the normalisation of the inputs (division by a zero standard deviation)",
)
_BEFORE = (
    "an earlier step or the checkpoint wrote them: load one from before",
    "look at the step before: its loss or gradient was not finite",
)
# Ops that write infinities on purpose.
_MASKS = ("masked_fill", "masked_fill_", "where", "add", "__add__")


def check(case: Case) -> Iterator[Finding]:
    """One finding: the first op, forward if the loss is not finite, else backward."""
    training = case.training
    bad = case.found
    if bad is not None and bad.located and (training is None or not runs_away(training)):
        scaled = any((call.weight or 0.0) >= SCALED for call in case.snapshot.losses)
        half = any(o.output is not None and o.output.dtype in HALF for o in case.snapshot.ops)
        low = scaled or (half and bad.phase == "backward")
        located = found(bad, CODE, _advised(bad), low=low and bad.phase != "data")
        skipped = bad.step is None and _skipped(case.snapshot, training)
        quiet = replace(located, severity="info", cause="none")
        yield quiet if skipped else _proved(case, located)
        return
    start = [_proved(case, finding) for finding in _judged(case.snapshot, 0)]
    if _skipped(case.snapshot, training):
        start = [replace(f, severity="info", cause="none") for f in start]
    yield from start
    if start or training is None or training.broke is None or runs_away(training):
        return
    step = max(0, len(training.loss) - 1)
    yield from (_proved(case, finding) for finding in _judged(training.broke, step))


def _proved(case: Case, finding: Finding) -> Finding:
    """The same, laid to the precision if the training does not break in float32."""
    if case.replay("float32") is None or not (case.training and case.training.stopped):
        return finding
    return replace(
        finding, cause="precision", advice=(*finding.advice, "in float32 it does not happen")
    )


def _skipped(snapshot: Snapshot, training: Training | None) -> bool:
    """True if only the loss scaler's first tries overflow: the steps that were taken are finite."""
    scaled = any((call.weight or 0.0) >= SCALED for call in snapshot.losses)
    if not scaled or training is None or not training.loss or not math.isfinite(snapshot.loss):
        return False
    return all(math.isfinite(v) for track in training.parameters.values() for v in track.gradient)


def _judged(snapshot: Snapshot, step: int) -> Iterator[Finding]:
    sick = [n for n, p in snapshot.parameters.items() if not math.isfinite(p.weight_norm)]
    if sick:
        yield replace(_weights(sick), step=step)
        return
    broken = [name for name, p in snapshot.parameters.items() if p.nonfinite]
    if math.isfinite(snapshot.loss) and not broken:
        masked = _masked(snapshot)
        if masked is not None:
            yield replace(masked, step=step)
        return
    if math.isfinite(snapshot.loss):
        yield replace(_backward(snapshot, broken), step=step)
    else:
        yield replace(_forward(snapshot, broken), step=step)


def _weights(sick: list[str]) -> Finding:
    return Finding(
        CODE,
        f"weights are not finite before the step: {span(sick)}",
        "error",
        "numerics",
        where=tuple(sick),
        evidence=(Evidence("parameters that are not finite", len(sick), "parameters", 0),),
        advice=_BEFORE,
        confidence=0.99,
    )


def _masked(snapshot: Snapshot) -> Finding | None:
    """An infinite derivative that a later zero hides from the parameters."""
    for op in snapshot.ops:
        if op.output and op.output.dtype in HALF and _bad(op) and op.name not in _MASKS:
            return _overflow(op)
    if not any(op.grad_nonfinite for op in snapshot.ops):
        return None
    op = first_backward(snapshot)
    name = op.name if op else "an op"
    return Finding(
        CODE,
        f"the gradient is infinite behind `{name}`, and a later op hides it",
        "warning",
        "numerics",
        where=(op.module or op.name,) if op else (),
        source=op.source if op else None,
        evidence=_ranges(op),
        advice=_advice(op),
        confidence=0.8,
    )


def _overflow(op: Op) -> Finding:
    assert op.output is not None
    return Finding(
        CODE,
        f"`{op.name}` overflows in {op.output.dtype}: {op.output.nonfinite} infinite entries, and "
        "a later op hides them",
        "error",
        "precision",
        where=(op.module or op.name,),
        source=op.source,
        evidence=(
            Evidence("non-finite entries of its output", op.output.nonfinite, "entries", 0),
            *_ranges(op),
        ),
        advice=(
            "run this op in float32 or bfloat16 (`with torch.autocast(..., enabled=False)`)",
            "or scale its input down first",
        ),
        confidence=0.9,
    )


def _forward(snapshot: Snapshot, broken: list[str]) -> Finding:
    op = first_forward(snapshot)
    count = op.output.nonfinite if op and op.output else 0
    from_data = bool(op and op.inputs and op.inputs.nonfinite and not op.sources)
    what = "NaN" if math.isnan(snapshot.loss) else "infinite"
    if op is None:
        title = f"the loss is {what}; no op shows where it began"
    elif from_data:
        title = f"the loss is {what}: the input of `{op.name}` already holds {count} such entries"
    else:
        title = f"the loss is {what}: it begins in the forward pass at `{op.name}`"
    overflow = bool(op and op.output and op.output.dtype in HALF and not op.output.nan)
    scaled = any((call.weight or 0.0) >= SCALED for call in snapshot.losses)
    cause: Cause = "data" if from_data else "precision" if overflow or scaled else "numerics"
    return Finding(
        CODE,
        title,
        "error",
        cause,
        where=(op.module or op.name,) if op else tuple(broken),
        source=op.source if op else None,
        evidence=(
            Evidence("loss", snapshot.loss),
            Evidence("non-finite entries of its output", count, "entries", 0),
            *_ranges(op),
        ),
        advice=(_CLEAN if from_data else _advice(op)),
        confidence=0.95 if op else 0.6,
    )


def _backward(snapshot: Snapshot, broken: list[str]) -> Finding:
    op = first_backward(snapshot)
    scaled = any((call.weight or 0.0) >= SCALED for call in snapshot.losses)
    half = any(o.output is not None and o.output.dtype in HALF for o in snapshot.ops)
    return Finding(
        CODE,
        "the loss is finite but its gradient is not"
        + (f": it begins in the backward pass of `{op.name}`" if op else ""),
        "error",
        "precision" if scaled or half else "numerics",
        where=((op.module or op.name,) if op else ()) + tuple(broken[:3]),
        source=op.source if op else None,
        evidence=(
            Evidence("parameters with non-finite gradient", len(broken), "parameters", 0),
            *_ranges(op),
        ),
        advice=_advice(op),
        confidence=0.95 if op else 0.6,
    )


def first_forward(snapshot: Snapshot) -> Op | None:
    """First op whose output is NaN, or in half precision infinite; failing that, infinite."""
    measured = [op for op in snapshot.ops if op.output is not None]
    for op in measured:
        if op.output is None or not op.output.nonfinite:
            continue
        if op.output.nan:
            break
        if op.output.dtype in HALF and op.name not in _MASKS:
            return op
    for op in measured:
        if op.output is not None and (op.output.nan or (_bad(op) and op.name not in _MASKS)):
            return op
    return next((op for op in measured if _bad(op)), None)


def _bad(op: Op) -> bool:
    return op.output is not None and op.output.nonfinite > 0


def first_backward(snapshot: Snapshot) -> Op | None:
    """The op that receives a finite gradient and sends on one that is not."""
    for edge in snapshot.edges:
        if math.isfinite(edge.norm):
            continue
        senders = [term.op for term in edge.terms if not math.isfinite(term.norm)]
        if not senders and edge.dominator is not None:
            above = snapshot.edges[edge.dominator].op
            senders = [] if above is None else [above]
        senders = [i for i in senders if not snapshot.ops[i].grad_nonfinite]
        if senders:
            return snapshot.ops[senders[0]]
    return next((op for op in reversed(snapshot.ops) if op.grad_nonfinite), None)


def _ranges(op: Op | None) -> tuple[Evidence, ...]:
    if op is None or op.inputs is None:
        return ()
    return (
        Evidence("largest entry of its input", op.inputs.absmax),
        Evidence("zeros in its input", op.inputs.zero_fraction, "share"),
    )


def _advised(bad: BadStep) -> tuple[str, ...]:
    if bad.phase == "data":
        return _CLEAN
    if bad.phase in ("weights", "buffers"):
        return _BEFORE
    return _advice_for((bad.call or bad.op).strip("_"))


def _advice(op: Op | None) -> tuple[str, ...]:
    return _advice_for(op.name.strip("_") if op else "")


def _advice_for(name: str) -> tuple[str, ...]:
    if name in ("log", "log2", "log10", "sqrt", "rsqrt", "div", "truediv", "pow", "reciprocal"):
        return (
            f"keep the argument of `{name}` away from 0: clamp it or add eps inside",
            "with `torch.where`, make the unused branch safe too: its gradient is computed",
        )
    if name in ("exp", "expm1", "softplus"):
        return ("subtract the maximum first, or use logsumexp or a loss that takes logits",)
    return (
        "look at the range of its input above",
        "lower the learning rate or use a wider dtype if numbers grew into overflow",
    )


# Chinese for the texts above, by template.
ZH = FOUND_ZH | {
    "in float32 it does not happen": "用 float32 时不会发生",
    "`{op}` overflows in {dtype}: {n} infinite entries, and a later op hides them": (
        "`{op}` 在 {dtype} 中溢出：{n} 个元素为无穷大，被后面的算子掩盖"
    ),
    "run this op in float32 or bfloat16 (`with torch.autocast(..., enabled=False)`)": (
        "在 float32 或 bfloat16 下运行该算子（`with torch.autocast(..., enabled=False)`）"
    ),
    "or scale its input down first": "或先缩小其输入",
    "weights are not finite before the step: {names}": "这一步之前权重已不是有限值：{names}",
    "parameters that are not finite": "含 NaN/Inf 的参数个数",
    "an earlier step or the checkpoint wrote them: load one from before": (
        "由更早的一步或检查点写入：请加载之前的检查点"
    ),
    "look at the step before: its loss or gradient was not finite": (
        "查看前一步：其损失或梯度不是有限值"
    ),
    "the gradient is infinite behind `{op}`, and a later op hides it": (
        "`{op}` 之后梯度为无穷大，被后面的算子掩盖"
    ),
    "the loss is {what}; no op shows where it began": "损失为 {what}；没有算子显示它从何处开始",
    "the loss is {what}: the input of `{op}` already holds {n} such entries": (
        "损失为 {what}：`{op}` 的输入中已有 {n} 个这样的元素"
    ),
    "the loss is {what}: it begins in the forward pass at `{op}`": (
        "损失为 {what}：前向计算中从 `{op}` 开始"
    ),
    "the loss is finite but its gradient is not: it begins in the backward pass of `{op}`": (
        "损失有限但梯度不是：反向计算中从 `{op}` 开始"
    ),
    "the loss is finite but its gradient is not": "损失有限但梯度不是",
    "non-finite entries of its output": "其输出中的 NaN/Inf 个数",
    "parameters with non-finite gradient": "梯度含 NaN/Inf 的参数个数",
    "largest entry of its input": "其输入的最大绝对值",
    "zeros in its input": "其输入中零的比例",
    "clean the data: `torch.isfinite(x).all()` before the model": (
        "清洗数据：在模型之前检查 `torch.isfinite(x).all()`"
    ),
    "check the normalisation of the inputs (division by a zero standard deviation)": (
        "检查输入的归一化（是否除以了零标准差）"
    ),
    "keep the argument of `{op}` away from 0: clamp it or add eps inside": (
        "让 `{op}` 的自变量远离 0：截断或在其中加 eps"
    ),
    "with `torch.where`, make the unused branch safe too: its gradient is computed": (
        "使用 `torch.where` 时，未选中的分支也要安全：它的梯度同样会被计算"
    ),
    "subtract the maximum first, or use logsumexp or a loss that takes logits": (
        "先减去最大值，或用 logsumexp，或用接收 logits 的损失"
    ),
    "look at the range of its input above": "查看上面列出的输入范围",
    "lower the learning rate or use a wider dtype if numbers grew into overflow": (
        "若数值增长到溢出，降低学习率或使用更宽的数据类型"
    ),
}
