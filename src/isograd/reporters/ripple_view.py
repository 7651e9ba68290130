"""A ripple in a terminal: the links from the parameter to the loss, and the check of gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from isograd.records.chain import decades
from isograd.records.ripple import Ripple, RippleLink
from isograd.reporters import numbers
from isograd.reporters.language import Say, speaker
from isograd.reporters.ripple_words import error_text, six, translated
from isograd.reporters.ripple_zh import CHINESE
from isograd.reporters.verification_view import verification

if TYPE_CHECKING:
    from rich.text import Text

MIN_WIDTH = 60
_WIDE = 100  # cells; from here on there is room for a longer bar
_SHOWN = 36  # links, before the middle is folded
_ENDS, _COSTLY = 10, 12
_DIRECTIONS = {
    "gradient": "along its gradient, norm of the change 1",
    "entry": "this entry changes by 1",
    "signs": "all entries change by ±1/√n, fixed signs, norm 1",
    "given": "along a given direction",
}
_SHOWN_ENDS = 8
_METHODS = {"forward": "", "difference": "diff", "run": "run"}


class RippleReport:
    """Something rich can print, at the console's width.

    Args:
        ripple: What to show.
        target: Its title.
        lang: `en` or `zh`.
        width: Cells; by default the console's.
        full: Fold nothing.
    """

    def __init__(
        self,
        ripple: Ripple,
        target: str = "",
        lang: str = "en",
        *,
        width: int | None = None,
        full: bool = False,
    ) -> None:
        self._ripple, self._target, self._lang = ripple, target, lang
        self._width, self._full = width, full
        self._tell = speaker(lang, CHINESE)

    def lines(self, width: int) -> list[Text]:
        """All lines at a width; below 60 cells they are laid out for 60."""
        return list(_report(self, max(width, MIN_WIDTH)))

    def text(self, width: int = 100) -> str:
        """The lines without colour."""
        return "\n".join(line.plain.rstrip() for line in self.lines(width)) + "\n"

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Text]:
        for line in self.lines(self._width or options.max_width):
            line.no_wrap = True
            line.overflow = "ignore"
            yield line


def _report(report: RippleReport, width: int) -> Iterator[Text]:
    from rich.text import Text

    from isograd.reporters.layout import clean, heading, paragraph, shorten

    r, tell = report._ripple, report._tell
    yield Text.assemble(("isograd", "bold"), "  ", shorten(clean(report._target), width - 9))
    if r.index is None:
        title = tell("ripple of `{parameter}`", parameter=r.parameter)
    else:
        entry = ", ".join(map(str, r.index)) or "()"
        title = tell("ripple of `{parameter}`, entry {entry}", parameter=r.parameter, entry=entry)
    yield from paragraph(title, width, style="bold")
    facts = [tell(_DIRECTIONS[r.direction]), tell("loss {value}", value=numbers.number(r.loss))]
    yield from paragraph(" · ".join([*facts, r.dtype]), width, style="dim")
    yield from _slopes(r, tell, width)
    n = len(r.links)
    title = tell(
        "from the parameter to the loss, {n} link"
        if n == 1
        else "from the parameter to the loss, {n} links",
        n=n,
    )
    yield from heading(title, width)
    yield from _links(r.links, tell, width, report._full)
    yield from _legend(r, tell, width)
    if r.notes:
        yield from heading(tell("notes"), width)
        for note in r.notes:
            yield from paragraph(translated(note, report._lang), width, first="  ", indent="  ")
    if r.verification is not None:
        yield from heading(tell("gradients against finite differences"), width)
        yield from verification(r.verification, tell, width, report._full, report._lang)


def _slopes(r: Ripple, tell: Say, width: int) -> Iterator[Text]:
    from isograd.reporters.layout import Column, heading, table

    yield from heading(tell("change of the loss per unit of change"), width)
    found = r.directional_derivative
    rows = [[(tell("forward"), ""), (six(found), "bold"), ("", "")]]
    for name, value in (("gradient", r.gradient), ("finite difference", r.finite_difference)):
        if value is None:
            rows.append([(tell(name), ""), (tell("none"), ""), ("", "")])
            continue
        gap = abs(value - found) / (max(abs(value), abs(found)) or 1.0)
        text = tell("relative difference {value}", value=error_text(gap))
        if name == "finite difference" and r.uncertainty is not None:
            text = tell(
                "relative difference {value}, error about {error}",
                value=error_text(gap),
                error=error_text(r.uncertainty / (abs(value) or 1.0)),
            )
        rows.append([(tell(name), ""), (six(value), "bold"), (text, "dim")])
    yield from table(
        [Column(""), Column("", right=True, least=9), Column("", wrap=True)], rows, width
    )[1:]


def _links(links: Sequence[RippleLink], tell: Say, width: int, full: bool) -> Iterator[Text]:
    from isograd.reporters.layout import Cell, Column, bar, table

    if not links:
        return
    sizes = [decades(link.norm_of_change) for link in links]
    finite = [size for size in sizes if math.isfinite(size)]
    low, high = min([0.0, *finite]), max([0.0, *finite])
    room = 22 if width >= _WIDE else 13
    columns = [
        Column(tell("op"), least=8),
        Column(tell("module"), least=10, keep="end"),
        Column(tell("line"), least=12, keep="end", drop=1),
        Column(tell("change"), right=True, least=8),
        Column(tell("gain"), right=True, least=7),
        Column(tell("decades"), right=True, least=5, keep="start"),
        Column("", least=room, keep="start"),
        Column(tell("by") if any(_METHODS[x.method] for x in links) else "", least=4),
    ]
    shown = set(range(len(links))) if full else _worth(links)
    rows: list[list[Cell]] = []
    hidden: list[RippleLink] = []

    def flush() -> None:
        if hidden:
            first = links[links.index(hidden[0]) - 1].norm_of_change
            change = decades(numbers.ratio(hidden[-1].norm_of_change, first))
            rows.append(
                [
                    (
                        tell(
                            "… {n} links, {decades} decades",
                            n=len(hidden),
                            decades=numbers.signed(change),
                        ),
                        "dim",
                    )
                ]
            )
            hidden.clear()

    for i, link in enumerate(links):
        if i not in shown:
            hidden.append(link)
            continue
        flush()
        gained = link.decades
        style = "red" if abs(gained) >= 1 else ""
        rows.append(
            [
                (link.op, ""),
                (link.module, ""),
                (link.source or "", "dim"),
                (numbers.number(link.norm_of_change), ""),
                ("-" if math.isnan(link.gain) else numbers.number(link.gain), style),
                ("-" if math.isnan(gained) else numbers.signed(gained), style),
                (bar(sizes[i], low, high, room), "cyan"),
                (_METHODS[link.method], "yellow"),
            ]
        )
    flush()
    yield from table(columns, rows, width)


def _worth(links: Sequence[RippleLink]) -> set[int]:
    n = len(links)
    if n <= _SHOWN:
        return set(range(n))

    def weight(i: int) -> float:
        size = abs(links[i].decades)
        return math.inf if math.isinf(size) else 0.0 if math.isnan(size) else size

    costly = sorted(range(_ENDS, n - _ENDS), key=lambda i: -weight(i))[:_COSTLY]
    kept = {*range(_ENDS), *range(n - _ENDS, n), *costly}
    # A line that says "1 link" is no shorter than the link.
    return kept | {i for i in range(1, n - 1) if i - 1 in kept and i + 1 in kept}


def _legend(r: Ripple, tell: Say, width: int) -> Iterator[Text]:
    from isograd.reporters.layout import paragraph

    sentences = []
    if r.links:
        sentences.append(
            tell(
                "gain: norm of the change of an op's output / of its inputs; the bar is the "
                "change itself, in decades from 1"
            )
        )
    if r.unreached:
        sentences.append(
            tell(
                "{n} op is not reached" if r.unreached == 1 else "{n} ops are not reached",
                n=r.unreached,
            )
        )
    methods = {link.method for link in r.links}
    if "difference" in methods:
        sentences.append(
            tell("diff: this op has no forward-mode formula, so central differences of it alone")
        )
    if "run" in methods:
        sentences.append(tell("run: central differences of the whole step"))
    for end in r.ends[:_SHOWN_ENDS]:
        sentences.append(
            tell(
                "the change leaves the differentiable path at `{op}`{place}",
                op=end.op,
                place=tell(" at {source}", source=end.source) if end.source else "",
            )
        )
    for sentence in sentences:
        yield from paragraph(sentence, width, first="  ", indent="  ", style="dim")
