"""A comparison as one offline page, with the pictures of a run's page."""

from __future__ import annotations

from typing import Any

import numpy as np

from isograd.records import codec
from isograd.records.parting import Parting, RunComparison
from isograd.records.run import Run
from isograd.reporters import run_page
from isograd.reporters.compare import words
from isograd.reporters.language import LANGUAGES
from isograd.reporters.run_page.bins import Array, Bins

_CHUNK = 4096
STATISTICS = ("ratio", "first", "second")


def page(found: RunComparison, a: Run, b: Run, statistic: str, lang: str = "en") -> str:
    """The whole page as text; it asks for nothing.

    Args:
        found: What `compare` measured.
        a: The first run.
        b: The second.
        statistic: The number of the layers that was compared.
        lang: Language that the page opens in, `en` or `zh`; a button switches.

    Raises:
        ValueError: If there is no such language.
    """
    state = run_page.State(f"{found.a} | {found.b}")
    state.status = "ended"
    state.events = [_event(each) for each in found.layers if each.parts_at is not None]
    state.tables["steps"] = _bins(found, a, b, statistic)
    outcomes = words.outcomes(found)
    data = {
        "run": state.to_dict(),
        "compare": {
            "a": found.a,
            "b": found.b,
            "identical": found.identical,
            "parts": words.earliest([*outcomes, *found.layers]) is not None,
            "facts": codec._plain(found.facts),
            "scalars": [each.statistic for each in found.whole],
            "rows": [codec._plain(each) for each in (*found.whole, *words.order(found))],
            "said": {each: _said(found, each) for each in LANGUAGES},
        },
    }
    title = f"isograd compare · {found.a} | {found.b}"
    return run_page.compare_page(data, title, words.chinese(), lang)


def _said(found: RunComparison, lang: str) -> dict[str, Any]:
    say = words.teller(lang)
    return {
        "headline": words.headline(found, say),
        "sentences": words.sentences(found, say),
        "how": words.how(found, say),
    }


def _event(each: Parting) -> dict[str, Any]:
    return {
        "step": each.parts_at,
        "name": "parts",
        "message": f"{each.name}: {words.difference(each, each.size)}",
        "time": 0.0,
        "severity": "warning",
        "parameter": each.name,
        "data": {},
    }


def _bins(found: RunComparison, a: Run, b: Run, statistic: str) -> Bins | None:
    common = np.intersect1d(a.steps, b.steps)
    if not len(common):
        return None
    one, other = a.take(common), b.take(common)
    names = [each.name for each in found.layers]
    shown = [each.statistic for each in found.whole]
    bins = Bins(names, STATISTICS, [f"{name} {i}" for name in shown for i in (0, 1)], "float64")
    for step in {each.parts_at for each in (*found.whole, *found.layers)} - {None}:
        bins.mark(step or 0)
    for step in {each.first_different for each in (*found.whole, *found.layers)} - {None}:
        bins.mark(step or 0)
    first = [one.series(name, statistic) for name in names]
    second = [other.series(name, statistic) for name in names]
    scalars, others = one.scalars, other.scalars
    numbers = [run[name] for name in shown for run in (scalars, others)]
    for begin in range(0, len(common), _CHUNK):
        part = slice(begin, begin + _CHUNK)
        steps = common[part]
        values = np.full((len(steps), len(names), len(STATISTICS)), np.nan)
        for i, (x, y) in enumerate(zip(first, second, strict=True)):
            values[:, i, 1], values[:, i, 2] = x[part], y[part]
        values[..., 0] = _ratio(values[..., 1], values[..., 2])
        columns = np.array([number[part] for number in numbers]).reshape(len(numbers), len(steps))
        bins.extend(steps, np.zeros(len(steps), bool), columns.T, values)
    return bins


def _ratio(x: Array, y: Array) -> Array:
    """First / second; exactly 1 if and only if they are the same."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = x / y
    ratio[(ratio == 1) & (x != y)] = np.nextafter(1.0, 2.0)
    return np.where(x == y, 1.0, ratio)
