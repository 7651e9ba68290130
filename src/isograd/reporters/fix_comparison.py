"""Trials as the before and after of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence

from isograd.records import Comparison, Diagnosis, History, Remedy
from isograd.records.fix import Measured, Trial

_MOST = 12


def compared(trials: Sequence[Trial], diagnosis: Diagnosis) -> Comparison | None:
    """What the report's section *before and after* shows; None without a finished trial."""
    done = [t for t in trials if not math.isnan(t.after.loss)]
    if not done:
        return None
    best = done[0]
    remedies = [_remedy("no change", best.before, False, "")]
    remedies += [
        _remedy(t.fix.title, t.after, t is best and t.proven, t.reason) for t in done[:_MOST]
    ]
    before, after = _history(best.before, diagnosis), _history(best.after, diagnosis)
    return Comparison("score after training", tuple(remedies), before, after)


def _remedy(name: str, measured: Measured, chosen: bool, reason: str) -> Remedy:
    spread = measured.spread if measured.spread is not None else math.nan
    decades = measured.decades if measured.decades is not None else math.nan
    score = measured.score if measured.score is not None else math.nan
    return Remedy(name, spread, decades, measured.loss, score, chosen, reason)


def _history(measured: Measured, diagnosis: Diagnosis) -> History:
    steps = tuple(range(len(measured.curve)))
    return History(steps, (), (), measured.curve)
