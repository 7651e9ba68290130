"""A comparison in the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isograd.records.parting import Parting, RunComparison
from isograd.reporters import layout, numbers
from isograd.reporters.compare import words
from isograd.reporters.language import Say

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.text import Text

# Rows shown unless all are asked for.
ROWS = 40


@dataclass(frozen=True, slots=True)
class CompareReport:
    """What rich prints.

    Attributes:
        found: The comparison.
        lang: `en` or `zh`.
        everything: Show all layers.
    """

    found: RunComparison
    lang: str = "en"
    everything: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Yield the lines."""
        from rich.text import Text

        found, say, width = self.found, words.teller(self.lang), options.max_width
        yield Text(f"{layout.clean(found.a)} | {layout.clean(found.b)}", "bold")
        mood = "green" if found.identical else "yellow"
        yield from layout.paragraph(words.headline(found, say), width, style=f"bold {mood}")
        if found.common:
            steps = say(
                "{n} common steps, {first} to {last}",
                n=found.common,
                first=found.first,
                last=found.last,
            )
            yield Text(steps, "dim")
        for sentence in words.sentences(found, say):
            yield from layout.paragraph(sentence, width, first="  ", indent="  ")
        if found.facts:
            yield from layout.heading(say("what differs in the facts"), width)
            columns = [
                layout.Column(""),
                layout.Column(found.a, wrap=True),
                layout.Column(found.b, wrap=True),
            ]
            rows = [
                [(key, "dim"), (_plain(a), ""), (_plain(b), "")]
                for key, (a, b) in found.facts.items()
            ]
            yield from layout.table(columns, rows, width)
        for title, every in (
            (say("the whole step"), list(found.whole)),
            (say("layers, the first to part first"), words.order(found)),
        ):
            if every:
                yield from layout.heading(title, width)
                yield from layout.table(_columns(say), self._rows(every, say), width)
        if not found.identical and found.common:
            yield Text()
            yield from layout.paragraph(words.how(found, say), width, style="dim")

    def _rows(self, every: list[Parting], say: Say) -> list[list[layout.Cell]]:
        shown = every if self.everything else every[:ROWS]
        rows = [row(each, say) for each in shown]
        if len(shown) < len(every):
            rows.append([(say("and {n} more; --all shows them", n=len(every) - len(shown)), "dim")])
        return rows


def row(each: Parting, say: Say) -> list[layout.Cell]:
    """One line of the table."""
    same = each.first_different is None
    parts = each.parts_at
    end = words.noises(each, each.end)
    return [
        (each.name or say(each.statistic), "" if each.name else "bold"),
        (say("all") if same else _step(each.identical_through), "green" if same else ""),
        ("-" if same else str(each.first_different), ""),
        ("-" if parts is None else _about(each), "yellow" if parts is not None else "dim"),
        (words.difference(each, each.size), ""),
        ("-" if same else words.difference(each, each.end), ""),
        (numbers.number(end) if end and math.isfinite(end) and not same else "-", ""),
    ]


def _columns(say: Say) -> list[layout.Column]:
    right = {"right": True, "least": 5}
    return [
        layout.Column(say("number"), keep="end", least=20),
        layout.Column(say("same to"), **right, drop=2),
        layout.Column(say("differs at"), **right),
        layout.Column(say("parts at"), **right),
        layout.Column(say("then a/b"), **right, drop=1),
        layout.Column(say("end a/b"), **right),
        layout.Column(say("noises"), **right, drop=3),
    ]


def _about(each: Parting) -> str:
    return f"{each.parts_at}" + (f" ±{each.resolution}" if each.resolution else "")


def _step(step: int | None) -> str:
    return "-" if step is None else str(step)


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return "-" if value is None else str(value)
