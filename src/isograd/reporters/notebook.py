"""A compact fragment for a notebook: static, escaped, and safe several times on one page.

It has no script and no ids; colours come from the notebook's own theme, so that it reads on
light and dark alike. The full page is one call away: `diagnosis.save_html(path)`.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence

from isograd.records.finding import Diagnosis
from isograd.reporters import chain_view, display, naming, numbers
from isograd.reporters.chain_view import ChainRow, ChainTable
from isograd.reporters.display import Card, Display
from isograd.reporters.language import Say, speaker

MUTED = "opacity:.7"
LINE = "border-bottom:1px solid rgba(128,128,128,.3)"
MARKS = {"error": ("✗", "#d13438"), "warning": ("!", "#b7791f"), "info": ("i", "#2f81c7")}


def fragment(diagnosis: Diagnosis, lang: str = "en") -> str:
    """The verdict, with findings, chain and learning speeds to fold out.

    Raises:
        ValueError: If there is no such language.
    """
    say = speaker(lang)
    shown = display.build(diagnosis, lang)
    parts = [*_verdict(shown), *(_card(card, say) for card in shown.findings)]
    if shown.chain is not None:
        parts.append(_details(shown.chain_title, _chain(shown.chain, shown.classes, say)))
    speeds = shown.speeds
    if speeds.layers:
        rows = [
            (
                naming.place(s.module, shown.classes, say),
                s.source or "-",
                "~0" if i in speeds.cancelled else numbers.number(s.batch_mean),
                "~0" if i in speeds.noise else numbers.number(s.per_sample_rms),
            )
            for i, s in enumerate(speeds.layers)
        ]
        heads = (say("layer"), say("source"), say("batch mean"), say("per-sample RMS"))
        texts = filter(None, (speeds.spread, speeds.trap, *speeds.notes))
        notes = "".join(f"<p>{escape(text)}</p>" for text in texts)
        parts.append(_details(say("learning speed of each layer"), _table(heads, rows, 2) + notes))
    if shown.missing:
        rows = [
            (row.reason, str(row.count), ", ".join(row.names[:5]), row.detail)
            for row in shown.missing
        ]
        heads = (say("reason"), say("count"), say("parameters"), say("why no gradient"))
        parts.append(_details(say("parameters without gradient"), _table(heads, rows, 9)))
    if shown.not_observed:
        parts.append(_details(say("could not observe"), _list(shown.not_observed)))
    return (
        '<div style="font-size:13px;line-height:1.5;max-width:1000px;'
        f'overflow-wrap:anywhere">{"".join(parts)}</div>'
    )


def _verdict(shown: Display) -> Iterable[str]:
    mark, colour = ("✓", "#16825d") if shown.ok else MARKS[shown.severity]
    what, where, then = (escape(line) for line in shown.verdict)
    yield (
        f'<div style="border-left:4px solid {colour};padding:2px 12px">'
        f'<div style="{MUTED}">isograd · {escape(shown.title)} · {escape(shown.facts)}</div>'
        f'<div style="font-size:15px;font-weight:600"><span style="color:{colour}">{mark}</span> '
        f"{what}</div><div>{where}</div><div>{'' if shown.ok else '→ '}{then}</div></div>"
    )


def _card(card: Card, say: Say) -> str:
    mark, colour = MARKS[card.severity]
    places = " ".join(
        f"<code>{escape(name)}</code>" for name in (*card.where[:6], card.source or "") if name
    )
    rows = [(e.name, e.value, e.threshold, e.how) for e in card.evidence]
    heads = (say("evidence"), say("value"), say("threshold"), say("how measured"))
    body = f'<div style="{MUTED}">{escape(" · ".join(card.labels))}</div><div>{places}</div>'
    body += _table(heads, rows, 1) if rows else ""
    summary = f'<span style="color:{colour};font-weight:600">{mark} {escape(card.code)}</span> '
    return _details(summary + escape(card.title), body + _list(card.advice), escaped=True)


def _chain(chain: ChainTable, classes: Mapping[str, str], say: Say) -> str:
    known = [row.decades for row in chain.rows if row.decades is not None]
    finite = [value for value in known if math.isfinite(value)]
    low, high = min(0.0, *finite, 0.0), max(0.0, *finite, 0.0)
    heads = (
        say("op"),
        say("module"),
        say("source"),
        say("kind"),
        say("gain"),
        say("decades"),
        say("so far"),
        "",
    )
    rows = [
        "<tr>"
        + "".join(_cell(text, i >= 4) for i, text in enumerate(_chain_cells(row, classes, say)))
        + f'<td style="width:160px">{_bar(row.decades, low, high)}</td></tr>'
        for row in chain.rows
    ]
    head = "".join(_cell(text, 4 <= i < 7, "th") for i, text in enumerate(heads))
    return f'<table style="border-collapse:collapse"><tr>{head}</tr>{"".join(rows)}</table>'


def _chain_cells(row: ChainRow, classes: Mapping[str, str], say: Say) -> tuple[str, ...]:
    gain = "–" if row.gain is None else numbers.number(row.gain)
    if row.role == "cross":
        return ("+ " + say("cross"), "", "", "", chain_view.cross(row.gain, say)[0], "", "")
    module = naming.place(row.module, classes, say) if row.module else "-"
    if row.role == "term":
        return (f"+ {row.op}", module, row.source or "-", say(row.kind), gain, "", "")
    known = (row.decades, row.so_far)
    ends = (gain, *("–" if value is None else numbers.signed(value) for value in known))
    if row.role == "fold":
        return (say("… {n} links", n=row.count), "", "", "", *ends)
    return (row.op, module, row.source or "-", say(row.kind), *ends)


def _bar(decades: float | None, low: float, high: float) -> str:
    if decades is None or not math.isfinite(decades) or high == low:
        return ""
    start = 100 * (min(decades, 0) - low) / (high - low)
    size = 100 * abs(decades) / (high - low)
    colour = "#d55e00" if decades < 0 else "#3f9fd4"
    place = f"margin-left:{start:.1f}%;width:{size:.1f}%"
    return f'<div style="{place};height:9px;background:{colour}"></div>'


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], right_from: int) -> str:
    head = "".join(
        _cell(text, right_from <= i < right_from + 2, "th") for i, text in enumerate(heads)
    )
    body = "".join(
        "<tr>"
        + "".join(_cell(text, right_from <= i < right_from + 2) for i, text in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f'<table style="border-collapse:collapse"><tr>{head}</tr>{body}</table>'


def _cell(text: str, right: bool, tag: str = "td") -> str:
    align = "right" if right else "left"
    return f'<{tag} style="text-align:{align};padding:1px 10px 1px 0;{LINE}">{escape(text)}</{tag}>'


def escape(text: str) -> str:
    """Escaped text, with names between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _list(items: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>" if items else ""


def _details(summary: str, body: str, *, escaped: bool = False) -> str:
    title = summary if escaped else escape(summary)
    head = f'<summary style="cursor:pointer">{title}</summary>'
    return f'<details style="margin-top:4px">{head}{body}</details>'
