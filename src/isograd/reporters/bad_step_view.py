"""Where NaN or infinity began, in words."""

from __future__ import annotations

import os
from pathlib import Path

from rich.text import Text

from isograd.records.bad_step import OTHERS, BadStep, TensorRange
from isograd.records.run_status import RunStatus
from isograd.reporters.language import speaker
from isograd.reporters.numbers import number

ZH = {
    "step {n}: ": "第 {n} 步：",
    "first {kind} in the forward pass: {op}": "第一个 {kind} 出现在前向计算：{op}",
    "first {kind} in the backward pass of {op}": "第一个 {kind} 出现在 {op} 的反向计算",
    "first {kind} between the backward pass and the optimizer: {op}": (
        "第一个 {kind} 出现在反向计算与优化器之间：{op}"
    ),
    "first {kind} in the optimizer's step: {op}": "第一个 {kind} 出现在优化器更新：{op}",
    "{kind} in the data: {name}": "数据中有 {kind}：{name}",
    "{kind} in the weights before the step: {name}": "这一步之前权重中已有 {kind}：{name}",
    "{kind} in a buffer before the step: {name}": "这一步之前缓冲区中已有 {kind}：{name}",
    "{kind} in the {reached}; where it began was not found": (
        "{reached} 中有 {kind}；未找到从何处开始"
    ),
    "infinity": "无穷大",
    "module {path}": "模块 {path}",
    "{bad} of {size} entries are not finite": "{size} 个元素中有 {bad} 个不是有限值",
    "input": "输入",
    "output": "输出",
    "no finite entry": "没有有限值",
    "1 zero": "1 个零",
    "{n} zeros": "{n} 个零",
    "then {kind} by {call}": "随后由 {call} 变为 {kind}",
    "it reached the {what}": "它到达了{what}",
    "the program stopped with {what}": "程序因此停止：{what}",
    "the losses came out bit by bit as in the training": "损失与训练时逐位相同",
    "other losses came out than in the training": "得到的损失与训练时不同",
    "nothing went wrong when it was run again": "再次执行时没有出现问题",
    "found while it trained:": "训练时的发现：",
    "loss": "损失",
    "gradient": "梯度",
    "weights": "权重",
    "how: {how}": "方式：{how}",
    "run it again: isograd replay {run}": "再次执行：isograd replay {run}",
    "find the op: isograd replay {run} --again runs the program up to there": (
        "查找算子：isograd replay {run} --again 把程序运行到该处"
    ),
    "not finite since step {n}; the step was not kept": "自第 {n} 步起不是有限值；该步未保留",
}
_TEMPLATES = {
    "forward": "first {kind} in the forward pass: {op}",
    "backward": "first {kind} in the backward pass of {op}",
    "gradients": "first {kind} between the backward pass and the optimizer: {op}",
    "optimizer": "first {kind} in the optimizer's step: {op}",
    "data": "{kind} in the data: {name}",
    "weights": "{kind} in the weights before the step: {name}",
    "buffers": "{kind} in a buffer before the step: {name}",
    "": "{kind} in the {reached}; where it began was not found",
}
_SHOWN = 6


def headline(bad: BadStep, lang: str = "en") -> str:
    """One line: step, op, source line, module, and how much is not finite."""
    tell = speaker(lang, ZH)
    kind = "NaN" if bad.kind == "nan" else tell("infinity")
    call = bad.call if bad.call not in ("", "-") else bad.op
    op = f"`{call}`" + (f" ({bad.op})" if bad.op.strip("_") not in (call.strip("_"), "") else "")
    name = f"`{bad.tensor or call}`"
    text = "" if bad.step is None else tell("step {n}: ", n=bad.step)
    text += tell(_TEMPLATES[bad.phase], kind=kind, op=op, name=name, reached=tell(bad.reached))
    parts = [text]
    if bad.source:
        parts.append(bad.source)
    if bad.module:
        parts.append(tell("module {path}", path=bad.module))
    if bad.output is not None:
        wrong = bad.output.nan + bad.output.inf + bad.output.minus_inf
        parts.append(
            tell("{bad} of {size} entries are not finite", bad=wrong, size=bad.output.size)
        )
    return ", ".join(parts)


def details(bad: BadStep, lang: str = "en") -> list[str]:
    """Lines below the headline: the source, what went in and came out, and how it went on."""
    tell = speaker(lang, ZH)
    out = [f"    {bad.text}"] if bad.text else []
    shown = [(tell("input"), seen) for seen in bad.inputs[:_SHOWN]]
    shown += [(tell("output"), bad.output)] if bad.output is not None else []
    out += [f"{what} {_range(seen, lang)}" for what, seen in shown]
    out += list(bad.scalars)
    for point in bad.path:
        at = f", {point.source}" if point.source else ""
        kind = "NaN" if point.kind == "nan" else tell("infinity")
        out.append(tell("then {kind} by {call}", kind=kind, call=f"`{point.call}`") + at)
    if bad.reached and bad.located:
        raised = ": " in bad.reached
        template = "the program stopped with {what}" if raised else "it reached the {what}"
        out.append(tell(template, what=tell(bad.reached)))
    if bad.note:
        out.append(bad.note)
    if not bad.located:
        out.append(tell("how: {how}", how=bad.how))
    elif bad.how == "run again":
        same = "the losses came out bit by bit as in the training"
        out.append(tell(same if bad.reproduced else "other losses came out than in the training"))
    return out


def lines(bad: BadStep, lang: str = "en") -> list[Text]:
    """Headline and details."""
    head = Text(headline(bad, lang), style="bold red")
    return [head, *(Text(f"  {line}") for line in details(bad, lang))]


def replayed(bad: BadStep | None, before: BadStep | None, lang: str = "en") -> list[Text]:
    """What came out when a step was run again.

    Args:
        bad: What was found; None if all stayed finite.
        before: What was found while it trained, if that is known.
        lang: `en` or `zh`.
    """
    tell = speaker(lang, ZH)
    if bad is not None:
        return lines(bad, lang)
    out = [Text(tell("nothing went wrong when it was run again"), style="green")]
    if before is not None:
        out.append(Text(tell("found while it trained:")))
        out += lines(before, lang)
    return out


def ending_lines(now: RunStatus, lang: str = "en") -> list[Text]:
    """What to say of bad steps when the program has ended."""
    tell = speaker(lang, ZH)
    out: list[Text] = []
    for bad in now.bad_steps[:1]:
        out += lines(bad, lang)
    if now.run is not None and (now.bad_steps or now.broke is not None):
        run = _short(now.run)
        if any(bad.located or OTHERS in bad.how for bad in now.bad_steps):
            out.append(Text(tell("run it again: isograd replay {run}", run=run)))
        else:
            if now.broke is not None and not now.bad_steps:
                known = tell("not finite since step {n}; the step was not kept", n=now.broke)
                out.append(Text(known, style="bold red"))
            again = "find the op: isograd replay {run} --again runs the program up to there"
            out.append(Text(tell(again, run=run)))
    return out


def _range(seen: TensorRange, lang: str) -> str:
    tell = speaker(lang, ZH)
    name = f"`{seen.name}`" + (f" = {seen.held}" if seen.held and seen.held != seen.name else "")
    shape = "x".join(map(str, seen.shape)) or "scalar"
    parts = [f"{name} {seen.dtype} [{shape}]"]
    if seen.minimum is None or seen.maximum is None:
        parts.append(tell("no finite entry"))
    elif seen.minimum == seen.maximum:
        parts.append(number(seen.minimum))
    else:
        parts.append(f"{number(seen.minimum)} .. {number(seen.maximum)}")
    if seen.zeros:
        parts.append(tell("1 zero") if seen.zeros == 1 else tell("{n} zeros", n=seen.zeros))
    for count, what in ((seen.nan, "NaN"), (seen.inf, "inf"), (seen.minus_inf, "-inf")):
        if count:
            parts.append(f"{count} {what}")
    return ", ".join(parts)


def _short(path: str) -> str:
    try:
        return os.path.relpath(path) if Path(path).is_absolute() else path
    except ValueError:  # another drive
        return path
