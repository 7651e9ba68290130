"""Fixes in a terminal: one row a trial, the best first, and what a proven one changed."""

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

_MARKS = {"proven": "bold green", "no better": "dim", "worse": "red", "failed": "red"}
_SHOWN = 8


class FixReport:
    """Something rich can print, at the console's width.

    Args:
        trials: What to show, the best first.
        lang: `en` or `zh`.
        full: Show all trials.

    Raises:
        ValueError: If there is no such language.
    """

    def __init__(self, trials: Sequence[Trial], lang: str = "en", *, full: bool = False) -> None:
        self._trials, self._lang, self._full = trials, lang, full
        self._say = speaker(lang, ZH)

    def __rich_console__(self, console: Any, options: Any) -> Iterator[RenderableType]:
        from rich.text import Text

        say, trials = self._say, self._trials
        if not trials:
            yield Text(say("No fix of the catalogue fits these findings."))
            return
        proven = [t for t in trials if t.proven]
        yield Text(verdict(trials, say), "bold green" if proven else "bold")
        yield Text()
        shown = trials if self._full else [*proven, *(t for t in trials if not t.proven)][:_SHOWN]
        yield self._table(shown)
        if len(shown) < len(trials):
            yield Text(
                say("{n} more trials: --full shows them.", n=len(trials) - len(shown)), "dim"
            )
        for line in legend(trials, say):
            yield Text(line, "dim")
        best = trials[0]
        if best.proven:
            yield Text()
            yield Text(say("before and after: {fix}", fix=title(best, self._lang)), "bold")
            yield self._compared(best)

    def _table(self, trials: Sequence[Trial]) -> RenderableType:
        from rich.table import Table
        from rich.text import Text

        say = self._say
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column(say("fix"), ratio=3)
        table.add_column(say("for"), no_wrap=True)
        for name in ("predicted", "measured", "loss", "score", "cost"):
            table.add_column(say(name), justify="right", no_wrap=True)
        table.add_column(say("verdict"), ratio=2)
        for trial in trials:
            words = say(trial.verdict)
            if trial.reason:
                words += ": " + translated(trial.reason, self._lang)
            table.add_row(
                title(trial, self._lang),
                trial.finding.code,
                signed(trial.predicted),
                signed(trial.after.decades),
                loss(trial.after),
                share(trial.after.score),
                cost(trial, say),
                Text(words, _MARKS[trial.verdict]),
            )
        return table

    def _compared(self, trial: Trial) -> RenderableType:
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("")
        for name in ("no change", "random change", "fixed"):
            table.add_column(self._say(name), justify="right")
        for row in compared(trial, self._say):
            table.add_row(*row)
        return table


def verdict(trials: Sequence[Trial], say: Say) -> str:
    """One line."""
    proven = [t for t in trials if t.proven]
    if not proven:
        return say("none of {n} fixes is proven", n=len(trials))
    best = proven[0]
    return say(
        "proven: {fix}; the loss ends at {after} instead of {before}",
        fix=best.fix.title,
        after=numbers.number(best.after.loss),
        before=numbers.number(best.before.loss),
    )


def legend(trials: Sequence[Trial], say: Say) -> Iterator[str]:
    """What the columns mean."""
    seeds = max((t.seeds for t in trials), default=0)
    yield say(
        "predicted, measured: decades of the product down to the first layer. loss, score: after "
        "training, median of {seeds} fresh seeds with the smallest and largest. cost: time per "
        "step. proven: better than no change and than random changes, on seeds that played no "
        "part in the choice; paired t test at 1 %.",
        seeds=seeds,
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


def cost(trial: Trial, say: Say) -> str:
    """Time per step against before, and new parameters."""
    if not trial.before.seconds or not trial.after.seconds:
        return ""
    text = f"x{trial.after.seconds / trial.before.seconds:.2f}"
    more = trial.after.parameters - trial.before.parameters
    return text + (f", {more:+,}" if more else "")
