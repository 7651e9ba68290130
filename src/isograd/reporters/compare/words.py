"""What a comparison says, in sentences for the terminal and the page."""

from __future__ import annotations

import json
import math
from functools import cache
from importlib import resources

from isograd.records.parting import Parting, RunComparison
from isograd.reporters import numbers
from isograd.reporters.language import Say, speaker

_NAMED = 3
# Numbers that a person sets; that they differ is a cause, not an outcome.
SETTINGS = ("lr", "scale")


@cache
def chinese() -> dict[str, str]:
    """Chinese of the sentences and headings here."""
    file = resources.files("isograd.reporters.compare") / "zh.json"
    return json.loads(file.read_text(encoding="utf-8"))


def teller(lang: str) -> Say:
    """A function that fills in a sentence in the language.

    Raises:
        ValueError: If there is no such language.
    """
    return speaker(lang, chinese())


def headline(found: RunComparison, say: Say) -> str:
    """The answer in one sentence."""
    if not found.common:
        return say("the two runs have no step in common")
    if not (found.whole or found.layers):
        return say("the two runs recorded no number in common")
    if found.identical:
        return say("bit-identical at all {n} common steps", n=found.common)
    first = earliest([*outcomes(found), *found.layers])
    if first is None:
        return say("the bits differ, but nothing beyond the runs' own noise")
    return say(
        "they part at step {step}, first in {what}", step=first.parts_at, what=title(first, say)
    )


def sentences(found: RunComparison, say: Say) -> list[str]:
    """What else there is to know, the most telling first."""
    every = [*found.whole, *found.layers]
    out: list[str] = []
    for each in found.whole:
        if each.statistic in SETTINGS and each.first_different is not None:
            out.append(
                say(
                    "a setting differs from step {step} on: {name}",
                    step=each.first_different,
                    name=say(each.statistic),
                )
            )
    every = [*outcomes(found), *found.layers]
    differ = [each for each in every if each.first_different is not None]
    if differ:
        begin = min(each.first_different or 0 for each in differ)
        there = [title(each, say) for each in differ if each.first_different == begin]
        named = ", ".join(there[:_NAMED])
        if len(there) > _NAMED:
            named += say(" and {n} more", n=len(there) - _NAMED)
        if begin > found.first:
            text = "bit-identical before step {step}; there the first bits differ, in {names}"
        else:
            text = "the bits differ from the first common step on, {step}, in {names}"
        out.append(say(text, step=begin, names=named))
        same = [each for each in every if each.first_different is None]
        if same:
            out.append(say("{n} of {all} numbers stay bit-identical", n=len(same), all=len(every)))
        late = [each for each in differ if _came_back(each)]
        if late:
            n = max(_came_back(each) for each in late)
            out.append(
                say("after the first difference up to {n} steps have the same bits again", n=n)
            )
    parted = [each for each in found.layers if each.parts_at is not None]
    if found.layers and differ:
        out.append(
            say(
                "{n} of {all} layers part beyond their own noise",
                n=len(parted),
                all=len(found.layers),
            )
        )
    loss = next((each for each in found.whole if each.statistic == "loss"), None)
    if loss is not None and loss.parts_at is not None:
        out.append(
            say(
                "the loss parts at step {step}: {end} at the end",
                step=loss.parts_at,
                end=difference(loss, loss.end),
            )
        )
    elif loss is not None and loss.first_different is not None and not loss.note:
        out.append(say("the loss stays within its noise"))
    notes = [each for each in every if each.note.startswith("too few")]
    if notes:
        out.append(say("too few steps to measure the noise of {n} numbers", n=len(notes)))
    for names, run in ((found.only_a, found.a), (found.only_b, found.b)):
        if names:
            more = say(" and {n} more", n=len(names) - _NAMED) if len(names) > _NAMED else ""
            out.append(
                say("only in {run}: {names}", run=run, names=", ".join(names[:_NAMED]) + more)
            )
    return out


def how(found: RunComparison, say: Say) -> str:
    """How it was measured."""
    return say(
        "to part: two windows in a row differ by more than {n} times what the runs' own windows "
        "fluctuate by",
        n=numbers.number(found.threshold),
    )


def order(found: RunComparison) -> list[Parting]:
    """Layers, the first to part before the others, then the first to differ in bits."""

    def rank(each: Parting) -> tuple[float, float]:
        parts = math.inf if each.parts_at is None else each.parts_at
        bits = math.inf if each.first_different is None else each.first_different
        return parts, bits

    return sorted(found.layers, key=rank)


def outcomes(found: RunComparison) -> list[Parting]:
    """Numbers of the whole step that nobody sets."""
    return [each for each in found.whole if each.statistic not in SETTINGS]


def earliest(every: list[Parting]) -> Parting | None:
    """The first to part; of several at one step the one that differs most, for its noise."""
    parted = [each for each in every if each.parts_at is not None]
    return min(
        parted, key=lambda each: (each.parts_at or 0, -noises(each, each.size)), default=None
    )


def noises(each: Parting, size: float) -> float:
    """A difference in units of the noise; 0 where that says nothing."""
    if not (math.isfinite(size) and each.noise > 0):
        return math.inf if size and each.noise == 0 else 0.0
    return abs(size) / each.noise


def title(each: Parting, say: Say) -> str:
    """Name of a number."""
    return f"`{each.name}`" if each.name else say(each.statistic)


def difference(each: Parting, size: float) -> str:
    """A difference as people read it: a factor where numbers are positive."""
    if not math.isfinite(size):
        return "-"
    if each.unit == "decades":
        return "x" + numbers.number(10**size) if abs(size) < 300 else numbers.signed(size)
    return ("+" if size > 0 else "") + numbers.number(size)


def _came_back(each: Parting) -> int:
    """Steps after the first difference whose bits are the same again."""
    return each.identical - each.stretch
