"""The status line of a running training, and the lines at its end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from isograd.records.finding import Finding
from isograd.records.run_status import RunStatus
from isograd.reporters import bad_step_view, layout, run_list
from isograd.reporters.language import speaker, translate

if TYPE_CHECKING:
    from rich.text import Text

ZH = {
    "step {n}": "第 {n} 步",
    "loss {x}": "损失 {x}",
    "slowest {name} {x}": "最慢 {name} {x}",
    "fastest {name} {y}": "最快 {name} {y}",
    "{n} alarms": "{n} 个警报",
    "1 alarm": "1 个警报",
    "{n} findings": "{n} 项诊断结果",
    "1 finding": "1 项诊断结果",
    "isograd took {s} s, {x} of the time": "isograd 占用 {s} 秒，为时间的 {x}",
    "isograd took {s} s": "isograd 占用 {s} 秒",
    "watched {n} steps": "观察了 {n} 步",
    "watched 1 step": "观察了 1 步",
    "the program was {ending}": "程序{ending}",
    "the program {ending}": "程序{ending}",
    "watching stopped: {why}": "观察已停止：{why}",
    "all evidence, layer by layer: isograd report {run}": "逐层的全部证据：isograd report {run}",
    "at {where}": "位于 {where}",
    "{a} and {n} more": "{a} 等另外 {n} 处",
    "judging the run (Ctrl-C skips it)": "正在诊断（Ctrl-C 跳过）",
    "the verdict was skipped": "已跳过诊断",
    "the verdict could not be shown ({error}); see `isograd report`": (
        "无法显示诊断（{error}）；请看 `isograd report`"
    ),
    "no training was seen: no optimizer of torch took a step in this process": (
        "没有看到训练：本进程中没有 torch 优化器走过一步"
    ),
    "no training was seen: the optimizer's parameters are in no torch module": (
        "没有看到训练：优化器的参数不属于任何 torch 模块"
    ),
    "step {n}: {message}": "第 {n} 步：{message}",
}
_MARKS = {"error": ("✗", "bold red"), "warning": ("!", "bold yellow"), "info": ("i", "cyan")}
_PLACES = 3
# Below so many seconds a share of the time says nothing.
_TELLING = 1.0


def status(now: RunStatus, lang: str = "en") -> str:
    """One line: step, loss, slowest and fastest layer, alarms, own cost."""
    tell = speaker(lang, ZH)
    parts = [tell("step {n}", n=now.steps)]
    if now.loss is not None:
        parts.append(tell("loss {x}", x=f"{now.loss:.4g}"))
    if now.alarms:
        parts.append(_alarms(now.alarms, lang))
    known = {name: speed for name, speed in now.speeds.items() if speed > 0}
    if len(known) > 1:
        slow, fast = min(known, key=lambda n: known[n]), max(known, key=lambda n: known[n])
        parts.append(tell("slowest {name} {x}", name=slow, x=f"{known[slow]:.2g}"))
        parts.append(tell("fastest {name} {y}", name=fast, y=f"{known[fast]:.2g}"))
    cost = f"{100 * now.cost:.1f} %" if now.cost < 1 else f"{now.seconds:.2f} s"
    parts.append(f"isograd {cost}")
    return " · ".join(parts)


def line(text: str, lang: str, **values: object) -> str:
    """A single sentence of ours between the program's own."""
    return f"isograd: {speaker(lang, ZH)(text, **values)}"


def ending(
    now: RunStatus,
    findings: tuple[Finding, ...],
    lang: str = "en",
    width: int = 80,
    notes: tuple[str, ...] = (),
) -> Iterator[Text]:
    """What to say when the program has ended.

    Args:
        now: Where the training stands.
        findings: What was found, causes first.
        lang: `en` or `zh`.
        width: Cells of a line.
        notes: Sentences of the diagnosis; where nothing was found, they say if the loss stood.
    """
    from rich.text import Text

    tell = speaker(lang, ZH)
    alarms = [finding for finding in findings if finding.alarm]
    if now.verdict and not alarms:
        yield Text.assemble(
            ("isograd: ", "bold"), (tell(now.verdict), "yellow" if notes else "green")
        )
        for note in notes:
            text = translate(note, lang)
            yield from layout.paragraph(text, width - 2, first="  ", indent="  ", style="yellow")
    for at, finding in enumerate(alarms):
        if not at:
            found = tell("{n} findings" if len(alarms) > 1 else "1 finding", n=len(alarms))
            yield Text(f"isograd: {found}", "bold")
        yield from _finding(finding, lang, width)
    yield from bad_step_view.ending_lines(now, lang)
    facts = [tell("watched 1 step" if now.steps == 1 else "watched {n} steps", n=now.steps)]
    if now.alarms:
        facts.append(_alarms(now.alarms, lang))
    share, seconds = f"{100 * now.cost:.1f} %", f"{now.seconds:.2g}"
    took = "isograd took {s} s, {x} of the time"
    if now.seconds < _TELLING and now.cost > 0.02:
        took = "isograd took {s} s"
    facts.append(tell(took, s=seconds, x=share))
    if now.ending:
        stopped = now.ending.startswith("stopped")
        how = "the program was {ending}" if stopped else "the program {ending}"
        facts.append(tell(how, ending=run_list.ending(now.ending, lang)))
    yield Text("; ".join(facts) if lang == "en" else "；".join(facts))
    if now.failed:
        yield Text(tell("watching stopped: {why}", why=now.failed), style="yellow")
    if now.run is not None:
        yield Text(
            tell("all evidence, layer by layer: isograd report {run}", run=_short(now.run)), "dim"
        )


def _finding(finding: Finding, lang: str, width: int) -> Iterator[Text]:
    """What, where, what to do."""
    tell = speaker(lang, ZH)
    mark, style = _MARKS[finding.severity]
    title = f"{finding.code} {translate(finding.title, lang)}"
    lines = layout.paragraph(title, width - 2, first=f"{mark} ", indent="  ", style="bold")
    for text in lines[:1]:
        text.stylize(style, 0, 1)
    yield from lines
    places = [f"`{layout.clean(place)}`" for place in finding.where[:_PLACES] if place]
    where = ", ".join(places)
    if len(finding.where) > _PLACES:
        where = tell("{a} and {n} more", a=where, n=len(finding.where) - _PLACES)
    if finding.source:
        where = f"{where}, {finding.source}" if where else finding.source
    if where:
        text = tell("at {where}", where=where)
        yield from layout.paragraph(text, width - 2, first="  ", indent="  ")
    for advice in finding.advice[:1]:
        text = translate(advice, lang)
        yield from layout.paragraph(text, width - 4, first="  → ", indent="    ")


def _alarms(count: int, lang: str) -> str:
    tell = speaker(lang, ZH)
    return tell("1 alarm") if count == 1 else tell("{n} alarms", n=count)


def _short(path: str) -> str:
    try:
        return os.path.relpath(path) if Path(path).is_absolute() else path
    except ValueError:  # another drive
        return path
