"""Terminal sections with the measurements beside the chain: layers, parameters, time, trainings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

from rich.text import Text

from isograd.reporters import naming, numbers
from isograd.reporters.display import Display, Series
from isograd.reporters.language import Say
from isograd.reporters.layout import Cell, Column, paragraph, table

Lines = Iterator[Text]
LAYERS = 24
BAR_DECADES = 2  # the least that a bar's scale spans: 1.00 and 1.13 are nearly as long
T = TypeVar("T")


def ends(items: Sequence[T], limit: int) -> tuple[Sequence[T], int, Sequence[T]]:
    """The two ends of a long list, and how many lie between.

    >>> ends([1, 2, 3, 4, 5], 4)
    ([1, 2], 1, [4, 5])
    """
    if len(items) <= limit:
        return items, 0, []
    half = limit // 2
    return items[:half], len(items) - 2 * half, items[-half:]


def layers(shown: Display, say: Say, width: int, full: bool) -> Lines:
    """Batch mean beside per-sample RMS, with a bar on a log scale."""
    speeds = shown.speeds
    if not speeds.layers:
        return
    logs = [
        math.nan if i in speeds.noise else numbers.log10(layer.per_sample_rms)
        for i, layer in enumerate(speeds.layers)
    ]
    finite = [value for value in logs if math.isfinite(value)]
    high = max(finite, default=0.0)
    low = math.floor(min([*finite, high - BAR_DECADES]))
    bar_width = max(8, min(30, width // 5))
    columns = [
        Column(say("layer"), least=18, keep="end"),
        Column(say("source"), least=8, keep="end", drop=2),
        Column(say("units"), right=True, drop=3),
        Column(say("batch mean"), right=True),
        Column(say("per-sample RMS"), right=True, least=14, keep="start"),
        Column(
            say("log, from 1e{n}", n=low) if finite else "",
            least=bar_width,
            keep="start",
            drop=1,
        ),
    ]

    def row(i: int) -> list[Cell]:
        layer, log = speeds.layers[i], logs[i]
        share = (log - low) / (high - low)
        drawn = "█" * max(1, round(share * bar_width)) if math.isfinite(log) else ""
        noise = i in speeds.noise
        return [
            (naming.place(layer.module, shown.classes, say), ""),
            (layer.source or "-", "dim"),
            (str(layer.units), ""),
            ("~0", "dim") if i in speeds.cancelled else (numbers.number(layer.batch_mean), ""),
            ("~0", "dim") if noise else (numbers.number(layer.per_sample_rms), "bold"),
            (drawn, "cyan"),
        ]

    head, hidden, tail = ends(range(len(logs)), len(logs) if full else LAYERS)
    rows = [row(i) for i in head]
    if hidden:
        rows.append([_layers_between(hidden, say), *[("", "")] * 5])
    yield from table(columns, rows + [row(i) for i in tail], width)
    for mark, text in (("  ", speeds.spread), ("! ", speeds.trap)):
        if text:
            yield from paragraph(text, width, first=mark, indent="  ")
    for note in speeds.notes:
        yield from paragraph(note, width, first="  ", indent="  ", style="dim")


def _layers_between(n: int, say: Say) -> Cell:
    return say("… {n} layer …" if n == 1 else "… {n} layers …", n=n), "dim"


def missing(shown: Display, say: Say, width: int, full: bool) -> Lines:
    """Grouped by reason; one example says why."""
    for row in shown.missing:
        names = [f"`{name}`" for name in (row.names if full else row.names[:3])]
        if len(names) < row.count:
            names.append(say("and {n} more", n=row.count - len(names)))
        listed = say(
            "{reason} ({n}): {names}", reason=row.reason, n=row.count, names=say(", ").join(names)
        )
        yield from paragraph(listed, width, first="- ", indent="  ")
        detail = " ".join(filter(None, [row.detail, f"({row.source})" if row.source else ""]))
        yield from paragraph(detail, width, first="  ", indent="  ", style="dim")


def attention(shown: Display, say: Say, width: int) -> Lines:
    """Logits, entropy and the gains towards q, k and v."""
    if not shown.attention:
        return
    columns = [
        Column(say("module"), least=12, keep="end"),
        Column(say("keys"), right=True, drop=1),
        Column(say("max logit"), right=True),
        Column(say("entropy"), right=True),
        Column(say("gain to q"), right=True),
        Column(say("to k"), right=True),
        Column(say("to v"), right=True),
    ]
    rows: list[list[Cell]] = []
    for row in shown.attention[:LAYERS]:
        name = naming.place(row.module, shown.classes, say)
        calls = f" ×{row.calls}" if row.calls > 1 else ""
        rows.append([(name + calls, ""), *((cell, "") for cell in row.cells)])
    yield from table(columns, rows, width)
    if len(shown.attention) > LAYERS:
        yield Text("  " + say("and {n} more", n=len(shown.attention) - LAYERS), "dim")


def recurrent(shown: Display, say: Say, width: int) -> Lines:
    """The gradient from the last time step back to the first."""
    if not shown.recurrent:
        return
    columns = [
        Column(say("module"), least=10, keep="end"),
        Column(say("layer"), keep="start", drop=1),
        Column(say("steps"), right=True),
        Column(say("decades"), right=True),
        Column(say("gain per step"), right=True, least=7),
        Column(say("norm, first step to last"), least=12, keep="start"),
    ]
    rows = [
        [
            (naming.place(row.module, shown.classes, say), ""),
            (row.layer, ""),
            (str(row.steps), ""),
            (numbers.signed(row.decades), "red" if row.decades < 0 else "cyan"),
            (numbers.number(row.per_step), ""),
            (numbers.spark(row.norms, log=True), ""),
        ]
        for row in shown.recurrent
    ]
    yield from table(columns, rows, width)


def remedies(shown: Display, say: Say, width: int) -> Lines:
    """What was tried; the chosen one is marked."""
    if shown.comparison is None:
        return
    columns = [
        Column("", least=1),
        Column(say("remedy"), least=18, keep="start", wrap=True),
        Column(say("last/first"), right=True),
        Column(say("decades"), right=True),
        Column(say("loss"), right=True),
        Column(shown.comparison.metric_name or say("score"), right=True),
        Column(say("why it failed"), least=8, keep="start", drop=1, wrap=True),
    ]
    rows: list[list[Cell]] = []
    for remedy in shown.comparison.remedies:
        style = "bold green" if remedy.chosen else ""
        rows.append(
            [
                ("✓" if remedy.chosen else " ", style),
                (remedy.name, style),
                (numbers.times(remedy.spread), style),
                (numbers.signed(remedy.decades), style),
                (numbers.number(remedy.loss), style),
                (numbers.number(remedy.metric), style),
                (remedy.reason, "dim"),
            ]
        )
    yield from table(columns, rows, width)


def histories(shown: Display, say: Say, width: int) -> Lines:
    """First and last value with the way between; learning speeds on a log scale."""
    for history in shown.histories:
        room = max(8, min(24, (width - 18) // len(history.titles) - 20))
        n = history.steps
        over = say("over {n} step" if n == 1 else "over {n} steps", n=n)
        columns = [Column(over, least=10, keep="end")]
        for title in history.titles:
            columns += [
                Column(say("first"), right=True),
                Column(say("last"), right=True),
                Column(title, least=room, keep="start"),
            ]
        head, hidden, tail = ends(history.layers, LAYERS // 2)
        known = {name: naming.place(name, shown.classes, say) for name, _ in history.layers}
        rows = [_trend(series, series[0], room, log=False) for series in history.scores]
        rows += [_trend(series, known[series[0]], room, log=True) for series in head]
        if hidden:
            gap: list[Cell] = [("", "")] * (len(columns) - 1)
            rows.append([_layers_between(hidden, say), *gap])
        rows += [_trend(series, known[series[0]], room, log=True) for series in tail]
        if rows:
            yield from table(columns, rows, width)


def _trend(series: Series, name: str, room: int, *, log: bool) -> list[Cell]:
    cells: list[Cell] = [(name, "")]
    for values in series[1]:
        ends_ = (values[0], values[-1]) if values else (None, None)
        cells += [(numbers.number(value), "") for value in ends_]
        cells.append((numbers.spark(values, room, log=log), "cyan" if log else "magenta"))
    return cells
