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
    tell = speaker(lang, ZH)
    several = any(row.ranks > 1 for row in rows)
    columns = [
        layout.Column(tell("run"), least=10),
        layout.Column(tell("started"), least=5, drop=2),
        layout.Column(tell("last step"), right=True, least=4),
        layout.Column(tell("loss"), right=True, least=5, drop=1),
        layout.Column(tell("verdict"), keep="start", least=12),
        layout.Column(tell("size"), right=True, drop=4),
    ]
    if several:
        columns.append(layout.Column(tell("ranks"), right=True, drop=3))
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
    tell = speaker(lang, ZH)
    if row.verdict is None:
        return tell("running" if row.running else "interrupted")
    said = verdict(row.verdict, lang) if row.verdict else tell("ended")
    if not row.ending:
        return said
    return f"{ending(row.ending, lang)}{tell(', ')}{said}"


def verdict(text: str, lang: str = "en") -> str:
    """A stored verdict in a language."""
    if lang == "en":
        return text
    tell = speaker(lang, ZH)
    match = _VERDICT.fullmatch(text)
    if match is None or match[1] is None:
        return tell(text) if text.startswith("healthy") or text in ZH else ending(text, lang)
    more = tell(" (+{n} more)", n=match[3]) if match[3] else ""
    return f"{match[1]} {translate(match[2], lang)}{more}"


def ending(text: str, lang: str = "en") -> str:
    """How a program ended, in a language."""
    tell = speaker(lang, ZH)
    for template in ("stopped by {name}", "ended with exit code {n}"):
        fixed, _, field = template.partition("{")
        if text.startswith(fixed):
            return tell(template, **{field[:-1]: text[len(fixed) :]})
    return tell(text) if text in ZH else text


def _style(row: Row) -> str:
    if row.verdict is None:
        return "cyan" if row.running else "yellow"
    if row.ok is False:
        return "red"
    return "yellow" if row.ending else "green" if row.ok else ""
