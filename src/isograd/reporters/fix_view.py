"""Fixes in a terminal: the best first, predicted and measured, and what a proven one changed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from isograd.records.fix import Measured, Trial
from isograd.reporters import numbers
from isograd.reporters.fix_words import ZH
from isograd.reporters.language import Say, speaker, translate

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

_MARKS = {
    "proven": "bold green",
    "not judged": "cyan",
    "no better": "yellow",
    "worse": "red",
    "failed": "red",
}
# Reasons of trials that ended because the time for all of them was up.
_LATE = ("no time was left", "there was no time to check the fixed copy")
_SHOWN = 8
_COLUMNS = ("for", "decades (theory)", "spread", "loss", "score", "time", "p")


class FixReport:
    """Something rich can print, at the console's width.

    Args:
        trials: What to show, the best first.
        lang: `en` or `zh`.
        full: Show all trials.
        seconds: The time that they had; None if it is not known.

    Raises:
        ValueError: If there is no such language.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        lang: str = "en",
        *,
        full: bool = False,
        seconds: float | None = None,
    ) -> None:
        self._trials, self._lang, self._full = trials, lang, full
        self._seconds = seconds
        self._say = speaker(lang, ZH)

    def __rich_console__(self, console: Any, options: Any) -> Iterator[RenderableType]:
        from rich.text import Text

        say, trials = self._say, self._trials
        if not trials:
            yield Text(say("No fix of the catalogue fits these findings."))
            return
        proven = [t for t in trials if t.proven]
        yield Text(verdict(trials, say, self._lang), "bold green" if proven else "bold")
        late = sum(t.reason in _LATE for t in trials)
        if late and self._seconds is not None:
            hint = say(
                "Time was up: {n} of {all} fixes were not tried to the end. Give `--time-limit` "
                "more than the {seconds} seconds, or fewer `--steps`.",
                n=late,
                all=len(trials),
                seconds=f"{self._seconds:.3g}",
            )
            yield Text(hint, "yellow")
        yield Text()
        most = max(_SHOWN, len(proven))
        shown = trials if self._full else trials[:most]
        yield from self._rows(shown, options.max_width)
        if len(shown) < len(trials):
            yield Text(
                say("{n} more trials: --full shows them.", n=len(trials) - len(shown)), "dim"
            )
        yield Text()
        for line in legend(trials, say):
            yield Text(line, "dim")
        best = trials[0]
        if best.proven:
            yield Text()
            yield Text(say("before and after: {fix}", fix=title(best, self._lang)), "bold")
            yield self._compared(best, ranges=options.max_width >= 90)

    def _rows(self, trials: Sequence[Trial], width: int) -> Iterator[RenderableType]:
        """For each trial its title with the verdict, and below it its numbers in columns."""
        from rich.cells import cell_len
        from rich.text import Text

        say = self._say
        known = next((t for t in trials if t.before.loss == t.before.loss), trials[0])
        rows = [self._cells(trial) for trial in trials]
        base = _measured("", None, known.before, "")
        head = [say(name) for name in _COLUMNS]
        for narrower in (False, True):
            if narrower:
                rows = [[cell.split(" [")[0] for cell in row] for row in rows]
                base = [cell.split(" [")[0] for cell in base]
            widths = [max(map(cell_len, column)) for column in zip(head, base, *rows, strict=True)]
            if sum(widths) + 2 * len(widths) + 2 <= width:
                break

        def line(cells: Sequence[str], style: str) -> Text:
            padded = (
                cell + " " * (wide - cell_len(cell))
                if i == 0
                else " " * (wide - cell_len(cell)) + cell
                for i, (cell, wide) in enumerate(zip(cells, widths, strict=True))
            )
            return Text("    " + "  ".join(padded).rstrip(), style, overflow="fold")

        yield line(head, "dim")
        yield Text.assemble("    ", (say("no change"), "bold"))
        yield line(base, "")
        for number, (trial, cells) in enumerate(zip(trials, rows, strict=True), 1):
            words = Text.assemble(
                (say(trial.verdict), _MARKS[trial.verdict]),
                "  ",
                (title(trial, self._lang), "bold" if trial.proven else ""),
            )
            more = trial.after.parameters - trial.before.parameters
            if more and trial.after.parameters and trial.before.parameters:
                words.append(f"  ({say('parameters')} {more:+,})", "dim")
            yield hung(f"{number:2}", words)
            yield line(cells, "" if trial.proven else "dim")
            if trial.reason:
                yield hung("  ", Text(translated(trial.reason, self._lang), "dim italic"))

    def _cells(self, trial: Trial) -> list[str]:
        time = ""
        if trial.before.seconds and trial.after.seconds:
            time = f"x{trial.after.seconds / trial.before.seconds:.2f}"
        cells = _measured(trial.finding.code, trial.predicted, trial.after, time)
        return [*cells[:-1], chance(trial)]

    def _compared(self, trial: Trial, ranges: bool) -> RenderableType:
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("", no_wrap=True)
        for name in ("no change", "random change", "fixed"):
            table.add_column(self._say(name), justify="right")
        for row in compared(trial, self._say):
            table.add_row(*(row if ranges else (cell.split(" [")[0] for cell in row)))
        return table


def hung(mark: str, words: Text) -> RenderableType:
    """Words behind a mark of two columns; further lines stay behind it."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    grid.add_row(mark, words)
    return grid


def _measured(code: str, predicted: float | None, measured: Measured, time: str) -> list[str]:
    decades = signed(measured.decades)
    if predicted is not None:
        decades += f" ({signed(predicted)})"
    spread = numbers.times(measured.spread) if measured.spread else ""
    return [code, decades.strip(), spread, loss(measured), share(measured.score), time, ""]


def verdict(trials: Sequence[Trial], say: Say, lang: str = "en") -> str:
    """One line."""
    proven = [t for t in trials if t.proven]
    if not proven:
        return say("none of {n} fixes is proven", n=len(trials))
    best = proven[0]
    return say(
        "proven: {fix}; the loss ends at {after} instead of {before}",
        fix=title(best, lang),
        after=numbers.number(best.after.loss),
        before=numbers.number(best.before.loss),
    )


def legend(trials: Sequence[Trial], say: Say) -> Iterator[str]:
    """What the columns mean."""
    seeds = max((t.seeds for t in trials), default=0)
    steps = max((len(t.after.curve) for t in trials), default=0)
    yield say(
        "decades: of the product down to the first layer, with theory's prediction. spread: "
        "learning speed of the fastest layer / slowest. loss, score: after {steps} steps, with "
        "the smallest and largest. time: per step, against no change.",
        steps=steps,
    )
    # Where time was up, some that are not proven have fewer.
    counts = [t.seeds for t in trials if t.seeds and t.proven] or [seeds]
    if not seeds:
        yield say("nothing was tried on fresh seeds")
        return
    yield say(
        "proven: better than no change (p, paired by seed, {seeds} fresh seeds or twice as many) "
        "and than random changes; these seeds played no part in choosing the fix.",
        seeds=min(counts),
    )


def compared(trial: Trial, say: Say) -> Iterator[tuple[str, str, str, str]]:
    """Rows of the comparison: what, no change, random change, fixed."""
    columns = (trial.before, trial.random, trial.after)

    def row(name: str, show: Any) -> tuple[str, str, str, str]:
        a, b, c = (show(m) if m is not None else "" for m in columns)
        return say(name), a, b, c

    yield row("decades to the first layer", lambda m: signed(m.decades))
    yield row("fastest layer / slowest", lambda m: numbers.times(m.spread) if m.spread else "")
    yield row("loss at the end", loss)
    if trial.after.score is not None:
        yield row("score at the end", lambda m: share(m.score))
    yield row("parameters", lambda m: f"{m.parameters:,}" if m.parameters else "")


def title(trial: Trial, lang: str) -> str:
    """The fix in words."""
    return " + ".join(translated(p.title, lang) for p in trial.fix.parts or (trial.fix,))


def translated(text: str, lang: str) -> str:
    """A sentence that a fix wrote."""
    words = speaker(lang, ZH)(text)
    return translate(text, lang) if words == text else words


def signed(value: float | None) -> str:
    """Decades, or nothing."""
    return "" if value is None else numbers.signed(value)


def loss(measured: Measured) -> str:
    """The loss with its range over seeds."""
    if math.isnan(measured.loss):
        return ""
    text = numbers.number(measured.loss)
    if math.isfinite(measured.low) and measured.high > measured.low:
        text += f" [{numbers.number(measured.low)}, {numbers.number(measured.high)}]"
    return text


def share(score: float | None) -> str:
    """A score in per cent."""
    return "" if score is None else f"{100 * score:.1f} %"


def chance(trial: Trial) -> str:
    """The p-value, where fresh seeds were tried."""
    if not trial.seeds:
        return ""
    return "<0.001" if trial.p_value < 0.001 else f"{trial.p_value:.3f}"
