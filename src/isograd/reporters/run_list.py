"""Recorded runs, one line each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isograd.reporters import layout
from isograd.reporters.language import speaker, translate

if TYPE_CHECKING:
    from rich.text import Text

ZH = {
    "run": "训练",
    "started": "开始",
    "last step": "最后一步",
    "loss": "损失",
    "verdict": "结论",
    "size": "大小",
    "ranks": "进程数",
    "running": "运行中",
    "interrupted": "已中断",
    "ended": "已结束",
    "healthy: no gradient fault found": "健康：未发现梯度故障",
    " (+{n} more)": "（另有 {n} 项）",
    "stopped by {name}": "因 {name} 而中止",
    "ended with exit code {n}": "以退出码 {n} 结束",
}
_VERDICT = re.compile(r"(?:([A-Z]\d+) )?(.*?)(?: \(\+(\d+) more\))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Row:
    """What a line tells.

    Attributes:
        name: What the run is called.
        started: When it began, in words.
        last_step: None before the first.
        loss: The last one; None if it was not recorded.
        verdict: What was concluded; None if it is running or was interrupted.
        ok: True if that is no alarm; None if that is not known.
        ending: How the program ended, if not well by itself.
        running: True if it still runs, as far as can be seen.
        size: Of its files, in words.
        ranks: Processes that recorded it.
    """

    name: str
    started: str
    last_step: int | None
    loss: float | None
    verdict: str | None
    ok: bool | None
    ending: str
    running: bool
    size: str
    ranks: int


def table(rows: list[Row], width: int, lang: str = "en") -> list[Text]:
    """Lines of a table, within a width.

    Args:
        rows: The runs.
        width: Cells.
        lang: `en` or `zh`.
    """
    say = speaker(lang, ZH)
    several = any(row.ranks > 1 for row in rows)
    columns = [
        layout.Column(say("run"), least=10),
        layout.Column(say("started"), least=5, drop=2),
        layout.Column(say("last step"), right=True, least=4),
        layout.Column(say("loss"), right=True, least=5, drop=1),
        layout.Column(say("verdict"), keep="start", least=12),
        layout.Column(say("size"), right=True, drop=4),
    ]
    if several:
        columns.append(layout.Column(say("ranks"), right=True, drop=3))
    cells = [
        [
            (row.name, "bold"),
            (row.started, "dim"),
            ("-" if row.last_step is None else str(row.last_step), ""),
            ("-" if row.loss is None else f"{row.loss:.4g}", ""),
            (standing(row, lang), _style(row)),
            (row.size, "dim"),
            *([(str(row.ranks), "dim")] if several else []),
        ]
        for row in rows
    ]
    return layout.table(columns, cells, width)


def standing(row: Row, lang: str = "en") -> str:
    """How a run ended or stands, in a few words."""
    say = speaker(lang, ZH)
    if row.verdict is None:
        return say("running" if row.running else "interrupted")
    said = verdict(row.verdict, lang) if row.verdict else say("ended")
    if not row.ending:
        return said
    return f"{ending(row.ending, lang)}{say(', ')}{said}"


def verdict(text: str, lang: str = "en") -> str:
    """A stored verdict in a language."""
    if lang == "en":
        return text
    say = speaker(lang, ZH)
    match = _VERDICT.fullmatch(text)
    if match is None or match[1] is None:
        return say(text) if text in ZH else ending(text, lang)
    more = say(" (+{n} more)", n=match[3]) if match[3] else ""
    return f"{match[1]} {translate(match[2], lang)}{more}"


def ending(text: str, lang: str = "en") -> str:
    """How a program ended, in a language."""
    say = speaker(lang, ZH)
    for template in ("stopped by {name}", "ended with exit code {n}"):
        fixed, _, field = template.partition("{")
        if text.startswith(fixed):
            return say(template, **{field[:-1]: text[len(fixed) :]})
    return say(text) if text in ZH else text


def _style(row: Row) -> str:
    if row.verdict is None:
        return "cyan" if row.running else "yellow"
    if row.ok is False:
        return "red"
    return "yellow" if row.ending else "green" if row.ok else ""
