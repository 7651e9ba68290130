"""Theory beside measurement in a terminal: a table of the five levels, and what the gaps mean."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from isograd.records.prediction import LEVELS, Cut, Gap, Prediction
from isograd.reporters import numbers
from isograd.reporters.language import Say, speaker
from isograd.reporters.theory_view_zh import CHINESE

if TYPE_CHECKING:
    from rich.text import Text

MIN_WIDTH = 60
_SHOWN = 40  # cuts, before the middle is folded
_ENDS = 12
# Below this all levels read 0.00.
_UNCHANGED = 0.005
_NAMES = 4
# What the measurement notes, with its one field.
_NOTES = (
    "the graph cannot be run in part: {value}",
    "the main chain ends at `{value}`, with no cut between it and the model's output",
)
_MEANINGS = {
    "L0": "init rule and Gaussian map",
    "L1": "measured weights and moments",
    "L2": "each op alone, white noise",
    "L3": "all ops together, white noise",
    "L4": "the gradient of the loss",
}


class TheoryReport:
    """Something rich can print, at the console's width.

    Args:
        prediction: What to show.
        lang: `en` or `zh`.
        width: Cells; by default the console's.
        full: Fold nothing.
    """

    def __init__(
        self,
        prediction: Prediction,
        lang: str = "en",
        *,
        width: int | None = None,
        full: bool = False,
    ) -> None:
        self._prediction, self._tell = prediction, speaker(lang, CHINESE)
        self._width, self._full = width, full

    def lines(self, width: int) -> list[Text]:
        """All lines at a width; below 60 cells they are laid out for 60."""
        return list(_report(self._prediction, self._tell, max(width, MIN_WIDTH), self._full))

    def text(self, width: int = 100) -> str:
        """The lines without colour."""
        return "\n".join(line.plain.rstrip() for line in self.lines(width)) + "\n"

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Text]:
        for line in self.lines(self._width or options.max_width):
            line.no_wrap = True
            line.overflow = "ignore"
            yield line


def _report(p: Prediction, tell: Say, width: int, full: bool) -> Iterator[Text]:
    from isograd.reporters.layout import heading, paragraph

    yield from heading(tell("theory beside measurement"), width)
    if p.cuts:
        levels = " · ".join(f"{level} {tell(_MEANINGS[level])}" for level in LEVELS)
        note = tell("decades of the gain of the total gradient norm, from output to first layer")
        yield from paragraph(note, width, first="  ", indent="  ", style="dim")
        yield from paragraph(levels, width, first="  ", indent="  ", style="dim")
        yield from _table(p, tell, width, full)
        yield from _gaps(p.gaps, tell, width)
        yield from _agreement(p, tell, width)
        yield from _facts(p, tell, width)
    yield from _times(p, tell, width)
    for note in p.notes:
        yield from paragraph(_note(note, tell), width, first="  ", indent="  ", style="dim")


def _table(p: Prediction, tell: Say, width: int, full: bool) -> Iterator[Text]:
    from isograd.reporters.layout import Cell, Column, table

    columns = [
        Column(tell("op"), least=12, keep="start"),
        Column(tell("module"), least=12, keep="end"),
        Column(tell("line"), least=12, keep="end", drop=1),
        *(Column(level, right=True, least=5, keep="start") for level in LEVELS),
    ]
    rows: list[list[Cell]] = []
    for group in _groups(p.cuts, full):
        if len(group) == 1:
            rows.append(_row(group[0], tell))
        else:
            sums = [_decades(math.fsum(c.decades(level) for c in group)) for level in LEVELS]
            same = all(_unchanged(cut) for cut in group)
            text = "… {n} unchanged" if same else "… {n} more"
            rows.append(
                [(tell(text, n=len(group)), "dim"), ("", ""), ("", ""), *((s, "dim") for s in sums)]
            )
    totals = [_decades(p.totals[level]) for level in LEVELS]
    rows.append([(tell("total"), "bold"), ("", ""), ("", ""), *((t, "bold") for t in totals)])
    errors = ["" if p.errors[level] == 0 else _plus_minus(p.errors[level]) for level in LEVELS]
    if any(errors):
        name = tell("standard error")
        rows.append([(name, "dim"), ("", ""), ("", ""), *((e, "dim") for e in errors)])
    yield from table(columns, rows, width)


def _row(cut: Cut, tell: Say) -> list[tuple[str, str]]:
    name = tell("{op} (block)", op=cut.op) if cut.segment else cut.op
    cells = [(name, ""), (cut.module, ""), (cut.source or "", "dim")]
    for level in LEVELS:
        found = cut.levels.get(level)
        cells.append(("-", "yellow") if found is None else (numbers.signed(found.decades), ""))
    return cells


def _groups(cuts: Sequence[Cut], full: bool) -> list[list[Cut]]:
    """Runs of cuts that share a line: those that change nothing, and the middle of a deep net."""
    if full:
        return [[cut] for cut in cuts]
    groups: list[list[Cut]] = []
    for cut in cuts:
        if _unchanged(cut) and groups and _unchanged(groups[-1][0]):
            groups[-1].append(cut)
        else:
            groups.append([cut])
    if len(groups) > _SHOWN:
        middle = [cut for group in groups[_ENDS:-_ENDS] for cut in group]
        groups = [*groups[:_ENDS], middle, *groups[-_ENDS:]]
    return groups


def _unchanged(cut: Cut) -> bool:
    found = [level for level in cut.levels.values() if level is not None]
    return len(found) == len(LEVELS) and all(abs(x.decades) < _UNCHANGED for x in found)


def _gaps(gaps: Sequence[Gap], tell: Say, width: int) -> Iterator[Text]:
    from rich.text import Text

    from isograd.reporters.layout import paragraph

    yield Text()
    for gap in gaps:
        name = f"{gap.levels[0]} → {gap.levels[1]}"
        if math.isnan(gap.decades):
            continue
        chance = tell(
            "chance: {low} to {high}", low=numbers.signed(gap.low), high=numbers.signed(gap.high)
        )
        head = f"{name}  {numbers.signed(gap.decades)}  ({chance})"
        if gap.inside:
            said = tell("within the error bar")
            if gap.places:
                said = tell("within the error bar in all, not at single ops")
            mark, style = ("!", "yellow") if gap.places else ("✓", "green")
        else:
            said = "; ".join(tell(reading) for reading in gap.reading)
            mark, style = "!", "bold yellow"
        text = tell("{head}: {said}", head=head, said=said)
        lines = paragraph(text, width, first=f"{mark} ", indent="  ")
        lines[0].stylize(style, 0, 1)
        yield from lines
        if gap.places:
            places = ", ".join(_place(place) for place in gap.places)
            text = tell("most of it at {places}", places=places)
            yield from paragraph(text, width, first="    ", indent="    ", style="dim")


def _agreement(p: Prediction, tell: Say, width: int) -> Iterator[Text]:
    from isograd.reporters.layout import paragraph

    if not all(gap.inside and not gap.places for gap in p.gaps):
        return
    text = tell(
        "theory and measurement agree: {predicted} decades from the init rule, {measured} measured",
        predicted=_decades(p.totals["L0"]),
        measured=_decades(p.totals["L4"]),
    )
    yield from paragraph(text, width, first="→ ", indent="  ", style="bold")


def _place(place: Any) -> str:
    where = f"`{place.op}`"
    if place.module:
        where += f" in `{place.module}`"
    if place.source:
        where += f" ({place.source})"
    return f"{where} {numbers.signed(place.decades)}"


def _facts(p: Prediction, tell: Say, width: int) -> Iterator[Text]:
    from isograd.reporters.layout import paragraph

    sentences = []
    bar = p.error_bar
    if bar is not None:
        sentences.append(
            tell(
                "one draw of weights of these widths scatters by {low} to {high} decades around "
                "theory ({share} %, {activation})",
                low=numbers.signed(bar.low),
                high=numbers.signed(bar.high),
                share=round(100 * bar.level),
                activation=bar.activation,
            )
        )
    rules: dict[str, list[str]] = {}
    for name, rule in p.rules.items():
        rules.setdefault(rule, []).append(name)
    if rules:
        counted = ", ".join(f"{tell(rule)} ({len(names)})" for rule, names in rules.items())
        sentences.append(tell("init rules and their weights: {rules}", rules=counted))
    if p.moved:
        sentences.append(
            tell(
                "not of the variance of a known rule: {names}; taken as drawn by the rule above",
                names=_few(p.moved),
            )
        )
    if p.unknown:
        sentences.append(tell("no theory, measured from L2 on: {names}", names=_few(p.unknown)))
    if p.probes:
        sentences.append(tell("L2 and L3: {n} noise vectors", n=p.probes))
    for sentence in sentences:
        yield from paragraph(sentence, width, first="  ", indent="  ", style="dim")


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:_NAMES])
    return shown if len(names) <= _NAMES else f"{shown}, … ({len(names)})"


def _times(p: Prediction, tell: Say, width: int) -> Iterator[Text]:
    from isograd.reporters.layout import Column, heading, paragraph, table

    if not p.recurrent:
        return
    yield from heading(tell("gain per time step"), width)
    columns = [
        Column(tell("module"), least=8, keep="end"),
        Column(tell("layer"), right=True, least=3),
        Column(tell("direction"), least=7),
        Column(tell("steps"), right=True, least=3),
        Column(tell("theory"), right=True, least=6),
        Column(tell("measured"), right=True, least=6),
        Column(tell("theory is for"), least=16, wrap=True),
    ]
    rows = [
        [
            (rate.module, ""),
            (str(rate.layer), ""),
            (tell(rate.direction), ""),
            (str(rate.steps), ""),
            (numbers.number(rate.predicted), ""),
            ("-" if math.isnan(rate.measured) else numbers.number(rate.measured), ""),
            (tell(rate.method), "dim"),
        ]
        for rate in p.recurrent
    ]
    yield from table(columns, rows, width)
    note = tell("measured: along the loss gradient, over all units; theory: a unit's own state")
    yield from paragraph(note, width, first="  ", indent="  ", style="dim")


def _note(note: str, tell: Say) -> str:
    for template in _NOTES:
        head, tail = template.split("{value}")
        if note.startswith(head) and note.endswith(tail):
            return tell(template, value=note[len(head) : len(note) - len(tail)])
    return note


def _decades(value: float) -> str:
    return "-" if math.isnan(value) else numbers.signed(value)


def _plus_minus(error: float) -> str:
    return f"±{error:.1g}" if error >= 1e-4 else "±0"
