"""The sections of the terminal report, in reading order; each is empty if it has nothing to say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TypeGuard

from rich.cells import cell_len
from rich.text import Text

from isograd.reporters import chain_view, naming, numbers
from isograd.reporters.chain_view import NEAR_UNIT, ChainRow
from isograd.reporters.display import Card, Display
from isograd.reporters.language import Say
from isograd.reporters.layout import Cell, Column, axis, bar, clean, paragraph, shorten, table, wrap
from isograd.reporters.measurements import (
    attention,
    histories,
    layers,
    missing,
    recurrent,
    remedies,
)
from isograd.reporters.verdict import Share

Lines = Iterator[Text]
MARKS = {"error": ("✗", "bold red"), "warning": ("!", "bold yellow"), "info": ("i", "bold blue")}
SHORT = {"normalization": "norm.", "recurrence": "recurrent"}
SENTENCES = 6  # of what was not observed or not checked, before the rest is only counted
MODULES = 8
WIDE = 100  # cells; from here on the chain has room for class names


def report(shown: Display, say: Say, width: int, full: bool) -> Lines:
    """All sections that have something to say."""
    yield from _header(shown, say, width)
    sections = [
        (say("findings"), _findings(shown.findings, say, width)),
        (shown.chain_title, _chain(shown, say, width)),
        (say("decades by kind and by module"), _decades(shown, say, width, full)),
        (say("learning speed of each layer"), layers(shown, say, width, full)),
        (say("parameters without gradient"), missing(shown, say, width, full)),
        (say("attention"), attention(shown, say, width)),
        (say("gradient through time"), recurrent(shown, say, width)),
        (say("remedies tried"), remedies(shown, say, width)),
        (say("over the training"), histories(shown, say, width)),
        (say("notes"), _sentences(shown.notes, say, width, True)),
        (say("could not observe"), _sentences(shown.not_observed, say, width, full)),
        (say("not checked"), _sentences(shown.not_checked, say, width, full)),
    ]
    for title, body in sections:
        lines = list(body)
        if lines:
            yield Text()
            yield from _heading(title, width)
            yield from lines


def _heading(title: str, width: int) -> Lines:
    rows = wrap(title, width - 4)
    for row in rows[:-1]:
        yield Text(row, "bold")
    line = Text(rows[-1], "bold")
    line.append(" " + "─" * max(0, width - cell_len(rows[-1]) - 1), "dim")
    yield line


def _header(shown: Display, say: Say, width: int) -> Lines:
    yield Text.assemble(("isograd", "bold"), "  ", (shorten(clean(shown.title), width - 9), ""))
    yield from paragraph(shown.facts, width, style="dim")
    yield Text()
    mark, style = ("✓", "bold green") if shown.ok else MARKS[shown.severity]
    what, where, then = shown.verdict
    first = paragraph(what, width, first=f"{mark} ", indent="  ", style="bold")
    first[0].stylize(style, 0, 1)
    yield from first
    yield from paragraph(where, width, first="  ", indent="  ")
    arrow = "  " if shown.ok else "→ "
    yield from paragraph(then, width, first=arrow, indent="  ")


def _findings(cards: tuple[Card, ...], say: Say, width: int) -> Lines:
    for i, card in enumerate(cards):
        if i:
            yield Text()
        mark, style = MARKS[card.severity]
        title = paragraph(
            f"{card.code} {card.title}", width, first=f"{mark} ", indent="  ", style="bold"
        )
        title[0].stylize(style, 0, 1)
        yield from title
        yield from paragraph(" · ".join(card.labels), width, first="  ", indent="  ", style="dim")
        places = [f"`{name}`" for name in card.where[:4]]
        if len(card.where) > 4:
            places.append(say("and {n} more", n=len(card.where) - 4))
        if card.source:
            places.append(card.source)
        if places:
            text = say("at {places}", places=say(", ").join(places))
            yield from paragraph(text, width, first="  ", indent="  ")
        if card.evidence:
            columns = [
                Column(say("evidence"), least=12, keep="start", wrap=True),
                Column(say("value"), right=True, least=8, keep="start", wrap=True),
                Column(say("threshold"), right=True, least=5, keep="start"),
                Column(say("how measured"), least=12, keep="start", drop=1, wrap=True),
            ]
            yield from table(
                columns,
                [
                    [(e.name, ""), (e.value, "bold"), (e.threshold, ""), (e.how, "dim")]
                    for e in card.evidence
                ],
                width,
            )
        for advice in card.advice:
            yield from paragraph(advice, width, first="→ ", indent="  ")


def _chain(shown: Display, say: Say, width: int) -> Lines:
    chain = shown.chain
    if chain is None:
        if shown.chain_gap:
            yield from paragraph(shown.chain_gap, width, first="  ", indent="  ")
        return
    finite = [row.decades for row in chain.rows if _finite(row.decades)]
    low, high = min(0.0, *finite, 0.0), max(0.0, *finite, 0.0)
    bar_width = max(7, min(27, width // 4 - 12))
    left, _ = axis(low, high, bar_width)
    columns = [
        Column(say("op"), least=14),
        Column(say("module"), least=8, keep="end"),
        Column(say("source"), least=10, keep="end", drop=2),
        Column(say("kind"), least=10, keep="start", drop=3),
        Column(say("gain"), right=True, least=6),
        Column(say("decades"), right=True, least=6),
        Column(say("so far"), right=True, least=6),
        Column(" " * left + "0", least=bar_width, keep="start", drop=1),
    ]
    classes = shown.classes if width >= WIDE else {}
    rows = [_chain_row(row, classes, say, low, high, bar_width) for row in chain.rows]
    yield from table(columns, rows, width)
    if chain.closure > 1e-3:
        yield from paragraph(
            say(
                "the product and autograd's own gradient differ by a factor of {factor}: "
                "something on the way was not seen",
                factor=numbers.number(math.exp(min(chain.closure, 700.0))),
            ),
            width,
            first="! ",
            indent="  ",
        )


def _chain_row(
    row: ChainRow, classes: Mapping[str, str], say: Say, low: float, high: float, width: int
) -> list[Cell]:
    module = naming.place(row.module, classes, say) if row.module else "-"
    source, gain = row.source or "-", _known(row.gain, numbers.number)
    if row.role == "cross":
        text, sentence = chain_view.cross(row.gain, say)
        if sentence:
            return [(f"  {say('cross')}: {text}", "dim")]
        return [("  " + say("cross"), "dim"), *[("", "")] * 3, (text, "dim"), *[("", "")] * 3]
    if row.role == "term":
        name = "  + " + (say(row.kind) if row.kind == "skip" else row.op)
        here = [("", ""), ("", "")] if row.kind == "skip" else [(module, "dim"), (source, "dim")]
        return [(name, "dim"), *here, (say(row.kind), "dim"), (gain, "dim"), *[("", "")] * 3]
    folded = row.role == "fold"
    style = "dim" if folded else _style(row.decades)
    drawn = "" if row.decades is None else bar(row.decades, low, high, width)
    place: list[Cell] = [(module, ""), (source, "dim"), (say(SHORT.get(row.kind, row.kind)), "")]
    return [
        (say("… {n} links", n=row.count), "dim") if folded else (row.op, ""),
        *([("", "")] * 3 if folded else place),
        (gain, "dim" if folded else ""),
        (_known(row.decades, numbers.signed), style),
        (_known(row.so_far, numbers.signed), "dim" if folded else ""),
        (drawn, style),
    ]


def _known(value: float | None, show: Callable[[float], str]) -> str:
    return "–" if value is None else show(value)


def _finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _style(decades: float | None) -> str:
    if decades is None:
        return "dim"
    if not math.isfinite(decades):
        return "bold red"
    return "red" if decades < 0 else "cyan"


def _decades(shown: Display, say: Say, width: int, full: bool) -> Lines:
    modules = shown.modules
    if not full and len(modules) > MODULES:
        kept = [row for row in modules if not abs(row.decades) < NEAR_UNIT][:MODULES]
        rest = sum(row.decades for row in modules if row not in kept)
        n = len(modules) - len(kept)
        name = say("({n} other module)" if n == 1 else "({n} other modules)", n=n)
        modules = (*kept, Share(name, rest, None))
    groups = [(say("kind"), shown.kinds), (say("module"), modules)]
    finite = [r.decades for _, rows in groups for r in rows if math.isfinite(r.decades)]
    if not finite:
        return
    low, high = min(0.0, *finite, 0.0), max(0.0, *finite, 0.0)
    bar_width = max(12, width // 3)
    columns = [
        Column("", least=14),
        Column(say("decades"), right=True, least=6),
        Column(say("share"), right=True, least=5),
        Column("", least=bar_width),
    ]
    rows: list[list[Cell]] = []
    for title, entries in groups:
        rows.append([(title, "dim"), *[("", "")] * 3])
        for entry in entries:
            share = "" if entry.percent is None else f"{entry.percent} %"
            style = _style(entry.decades)
            rows.append(
                [
                    ("  " + entry.name, ""),
                    (numbers.signed(entry.decades), style),
                    (share, ""),
                    (bar(entry.decades, low, high, bar_width), style),
                ]
            )
    yield from table(columns, rows, width)


def _sentences(sentences: tuple[str, ...], say: Say, width: int, full: bool) -> Lines:
    kept = sentences if full or len(sentences) <= SENTENCES else sentences[: SENTENCES - 1]
    for sentence in kept:
        yield from paragraph(sentence, width, first="- ", indent="  ")
    if len(kept) < len(sentences):
        yield Text("  " + say("and {n} more", n=len(sentences) - len(kept)), "dim")
