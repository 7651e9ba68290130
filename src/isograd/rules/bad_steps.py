"""What a hunt for the first bad op found, as a finding."""

from __future__ import annotations

from isograd.records import Evidence, Finding
from isograd.records.bad_step import BadStep, TensorRange
from isograd.records.finding import Cause

HALF = ("float16", "bfloat16")
_SHOWN = 3
_WHERE = {
    "forward": ("{kind} begins in the forward pass at `{op}`", "{kind} 始于前向计算中的 `{op}`"),
    "backward": (
        "{kind} begins in the backward pass of `{op}`",
        "{kind} 始于 `{op}` 的反向计算",
    ),
    "gradients": (
        "{kind} begins between the backward pass and the optimizer, at `{op}`",
        "{kind} 始于反向计算与优化器之间的 `{op}`",
    ),
    "optimizer": (
        "{kind} begins in the optimizer's step, at `{op}`",
        "{kind} 始于优化器更新中的 `{op}`",
    ),
    "data": ("{kind} comes in with the data: `{name}`", "{kind} 来自数据：`{name}`"),
    "weights": (
        "{kind} was in the weights before the step: `{name}`",
        "{kind} 在这一步之前已在权重 `{name}` 中",
    ),
    "buffers": (
        "{kind} was in a buffer before the step: `{name}`",
        "{kind} 在这一步之前已在缓冲区 `{name}` 中",
    ),
}
_STEP = ("step {n}: ", "第 {n} 步：")
ZH = {
    (_STEP[0] if step else "") + english: (_STEP[1] if step else "") + chinese
    for english, chinese in _WHERE.values()
    for step in (False, True)
} | {
    "smallest finite entry of `{name}`": "`{name}` 的最小有限值",
    "largest finite entry of `{name}`": "`{name}` 的最大有限值",
    "zeros in `{name}`": "`{name}` 中的零",
    "entries that are not finite in `{name}`": "`{name}` 中的 NaN/Inf 个数",
    "argument {text}": "参数 {text}",
    "look at the setting that is not finite above: where does it come from?": (
        "查看上面那个不是有限值的设置：它从何而来？"
    ),
}


def found(bad: BadStep, code: str, advice: tuple[str, ...], *, low: bool) -> Finding:
    """The finding of a located step.

    Args:
        bad: What was found.
        code: Of the rule.
        advice: For its op.
        low: The loss is scaled, or half precision runs: what overflows does so for that.
    """
    kind = {"nan": "NaN", "inf": "infinity"}[bad.kind]
    template = _WHERE[bad.phase][0]
    name = bad.tensor or bad.call or bad.op
    title = template.format(kind=kind, op=bad.call or bad.op, name=name)
    if bad.step is not None:
        title = _STEP[0].format(n=bad.step) + title
    return Finding(
        code,
        title,
        "error",
        _cause(bad, low),
        where=tuple(dict.fromkeys(part for part in (bad.module, bad.tensor) if part))
        or (bad.call or bad.op,),
        source=bad.source,
        evidence=_evidence(bad),
        advice=_advice(bad, advice),
        confidence=0.99 if bad.reproduced else 0.8,
        step=bad.step or 0,
    )


def _cause(bad: BadStep, low: bool) -> Cause:
    if bad.phase == "data":
        return "data"
    shown = (*bad.inputs, *((bad.output,) if bad.output else ()))
    half = any(seen.dtype in HALF for seen in shown)
    return "precision" if low or (half and bad.kind == "inf") else "numerics"


def _evidence(bad: BadStep) -> tuple[Evidence, ...]:
    out: list[Evidence] = []
    for seen in bad.inputs[:_SHOWN]:
        out += _range(seen)
    if bad.output is not None:
        out.append(_count(bad.output, "output"))
    out += [Evidence(f"argument {text}", 1, "argument") for text in bad.scalars]
    return tuple(out)


def _range(seen: TensorRange) -> list[Evidence]:
    name = seen.held or seen.name
    out: list[Evidence] = []
    if seen.minimum is not None and seen.maximum is not None:
        out.append(Evidence(f"smallest finite entry of `{name}`", seen.minimum))
        out.append(Evidence(f"largest finite entry of `{name}`", seen.maximum))
    if seen.zeros:
        out.append(Evidence(f"zeros in `{name}`", seen.zeros, "entries"))
    if not seen.finite:
        out.append(_count(seen, name))
    return out


def _count(seen: TensorRange, name: str) -> Evidence:
    bad = seen.nan + seen.inf + seen.minus_inf
    return Evidence(
        f"entries that are not finite in `{name}`", bad, "entries", 0, how=f"of {seen.size}"
    )


def _advice(bad: BadStep, advice: tuple[str, ...]) -> tuple[str, ...]:
    if bad.scalars:
        return ("look at the setting that is not finite above: where does it come from?",)
    return advice
