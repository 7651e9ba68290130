"""Terminal sections with the measurements beside the chain: layers, parameters, time, trainings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

from rich.text import Text

from isograd.reporters import numbers
from isograd.reporters.display import Display, Series
from isograd.reporters.layout import Cell, Column, paragraph, table
from isograd.reporters.verdict import Say

Lines = Iterator[Text]
LAYERS = 24
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
    if not shown.layers:
        return
    logs = [numbers.log10(layer.per_sample_rms) for layer in shown.layers]
    finite = [value for value in logs if math.isfinite(value)]
    low, high = (math.floor(min(finite)), max(finite)) if finite else (0, 0.0)
    bar_width = max(8, min(30, width // 4))
    columns = [
        Column(say("layer"), least=12, keep="end"),
        Column(say("source"), least=8, keep="end", drop=2),
        Column(say("units"), right=True, drop=3),
        Column(say("batch mean"), right=True),
        Column(say("per-sample RMS"), right=True, least=8, keep="start"),
        Column(say("log scale from 1e{n}", n=low), least=bar_width, keep="start", drop=1),
    ]

    def row(i: int) -> list[Cell]:
        layer, log = shown.layers[i], logs[i]
        share = (log - low) / ((high - low) or 1.0)
        drawn = "█" * max(1, round(share * bar_width)) if math.isfinite(log) else ""
        return [
            (layer.module, ""),
            (layer.source or "-", "dim"),
            (str(layer.units), ""),
            (numbers.number(layer.batch_mean), ""),
            (numbers.number(layer.per_sample_rms), "bold"),
            (drawn, "cyan"),
        ]

    head, hidden, tail = ends(range(len(logs)), len(logs) if full else LAYERS)
    rows = [row(i) for i in head]
    if hidden:
        rows.append([(say("… {n} layers …", n=hidden), "dim"), *[("", "")] * 5])
    yield from table(columns, rows + [row(i) for i in tail], width)
    first, last = shown.layers[0], shown.layers[-1]
    mean = numbers.ratio(last.batch_mean, first.batch_mean)
    each = numbers.ratio(last.per_sample_rms, first.per_sample_rms)
    if len(shown.layers) > 1 and not shown.layers_note and math.isfinite(mean * each):
        text = say(
            "last/first layer: {mean} by batch mean, {each} by per-sample RMS",
            mean=numbers.times(mean),
            each=numbers.times(each),
        )
        yield from paragraph(text, width, first="  ", indent="  ")
    if shown.layers_note:
        yield from paragraph(shown.layers_note, width, first="! ", indent="  ")


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
    for op in shown.attention[:LAYERS]:
        seen = op.attention
        assert seen is not None
        values = (seen.logit_max, seen.entropy, seen.gain_q, seen.gain_k, seen.gain_v)
        rows.append(
            [
                (op.module or op.name, ""),
                (str(seen.keys), ""),
                *((numbers.number(v), "") for v in values),
            ]
        )
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
            (row.module, ""),
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
        Column(say("remedy"), least=26, keep="start"),
        Column(say("last/first"), right=True),
        Column(say("decades"), right=True),
        Column(say("loss"), right=True),
        Column(shown.comparison.metric_name or say("score"), right=True),
        Column(say("why it failed"), least=8, keep="start", drop=1),
    ]
    rows: list[list[Cell]] = []
    for remedy in shown.comparison.remedies:
        style = "bold green" if remedy.chosen else ""
        rows.append(
            [
                (("✓ " if remedy.chosen else "  ") + remedy.name, style),
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
        columns = [Column(say("over {n} steps", n=history.steps), least=10, keep="end")]
        for title in history.titles:
            columns += [
                Column(say("first"), right=True),
                Column(say("last"), right=True),
                Column(title, least=room, keep="start"),
            ]
        head, hidden, tail = ends(history.layers, LAYERS // 2)
        rows = [_trend(series, room, log=False) for series in history.scores]
        rows += [_trend(series, room, log=True) for series in head]
        if hidden:
            gap: list[Cell] = [("", "")] * (len(columns) - 1)
            rows.append([(say("… {n} layers …", n=hidden), "dim"), *gap])
        rows += [_trend(series, room, log=True) for series in tail]
        if rows:
            yield from table(columns, rows, width)


def _trend(series: Series, room: int, *, log: bool) -> list[Cell]:
    cells: list[Cell] = [(series[0], "")]
    for values in series[1]:
        ends_ = (values[0], values[-1]) if values else (None, None)
        cells += [(numbers.number(value), "") for value in ends_]
        cells.append((numbers.spark(values, room, log=log), "cyan" if log else "magenta"))
    return cells
