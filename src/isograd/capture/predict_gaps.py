"""From the gains of all cuts to totals, their error bar, and gaps that mean something."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from isograd.capture.draft import Draft
from isograd.capture.levels_segments import Spread
from isograd.capture.levels_weights import Weight
from isograd.records.prediction import (
    LEVELS,
    Cut,
    ErrorBar,
    Gap,
    Place,
    Prediction,
    Rate,
)
from isograd.theory import UnknownActivationError, log_gain_interval

# gain^2 to decades of the gain.
_DECADE = 2 * math.log(10)
# Laws for wide layers and Gaussian inputs hold to some 10 % of gain over a deep net at
# initialisation, and to 5 % of gain^2 for one layer on real inputs.
_FLOOR, _LAYER = math.log10(1.1), math.log(1.05) / _DECADE
# Kedia et al. (2024): 13 % of gain^2 at the 90th percentile of their attention blocks.
_ATTENTION = math.log(1.13) / _DECADE
_SHARE = 0.9
_REACH = 1.645  # standard deviations to both ends of it
_PLACES = 3
# One cut alone is named from a factor of 2 on.
_ALONE = math.log10(2)
# A layer this wide scatters by 1 % of gain; wider ones cost time only.
_WIDEST = 20_000
# A cut is named if it has this part of the gap or more.
_PART = 0.15


def summary(
    parameter: str,
    cuts: tuple[Cut, ...],
    spreads: Sequence[Spread],
    weights: Mapping[Draft, Weight],
    recurrent: tuple[Rate, ...],
    probes: int,
    notes: tuple[str, ...],
    joint_error: float | None = None,
) -> Prediction:
    """Put a prediction together.

    Args:
        parameter: At the end of the chain.
        cuts: With their levels.
        spreads: L1 of each cut, for the weights it crosses.
        weights: All weights as their rules draw them.
        recurrent: Gains per time step.
        probes: Number of noise vectors.
        notes: What could not be done.
        joint_error: Relative standard error of the whole gain at L3.
    """
    totals = {level: math.fsum(cut.decades(level) for cut in cuts) for level in LEVELS}
    errors = {level: _error(cuts, level) for level in LEVELS}
    if joint_error is not None and math.isfinite(joint_error):
        errors["L3"] = joint_error / math.log(10)
    crossed = [weight for spread in spreads for weight in spread.weights]
    planned = {w.name: w for w in weights.values()}
    untouched = bool(crossed) and all(planned[w.name].matched for w in crossed if w.name in planned)
    bar = _error_bar(cuts, spreads)
    attention = sum(spread.attention for spread in spreads)
    gaps = []
    if cuts:
        for first, second in pairwise(LEVELS):
            gaps.append(_gap(cuts, first, second, bar, errors, len(crossed), attention, untouched))
    unknown = [
        f"{draft.name} ({draft.place.module})" if draft.place.module else draft.name
        for spread in spreads
        for draft in spread.unknown
    ]
    rules = {w.name: w.rule for w in planned.values()}
    moved = tuple(w.name for w in planned.values() if not w.matched)
    return Prediction(
        parameter,
        cuts,
        totals,
        errors,
        bar,
        tuple(gaps),
        tuple(dict.fromkeys(unknown)),
        rules,
        untouched,
        moved,
        recurrent,
        probes,
        notes,
    )


def _error(cuts: Sequence[Cut], level: str) -> float:
    """Standard error of a total, in decades; errors of L3's cuts are not independent."""
    squares = 0.0
    for cut in cuts:
        for name in LEVELS[LEVELS.index(level) :]:
            found = cut.levels.get(name)
            if found is not None:
                if math.isfinite(found.error):
                    squares += (found.error / math.log(10)) ** 2
                break
    return math.sqrt(squares)


def _error_bar(cuts: Sequence[Cut], spreads: Sequence[Spread]) -> ErrorBar | None:
    # Beside a skip path a branch has only a part of the energy, and ln gain^2 moves by that part
    # of what the branch does.
    widths = [
        min(_WIDEST, max(1, round(weight.width / spread.part**2)))
        for spread in spreads
        if spread.part > 0
        for weight in spread.weights
    ]
    if not widths:
        return None
    names = Counter(cut.op.rstrip("_") for cut in cuts if cut.kind == "activation")
    for name, _ in [*names.most_common(), ("relu" if len(names) else "linear", 0)]:
        try:
            interval = log_gain_interval(widths, name, level=_SHARE)
        except UnknownActivationError:
            continue
        low, high = interval.decades
        return ErrorBar(low, high, _SHARE, tuple(widths), name)
    return None


def _gap(
    cuts: Sequence[Cut],
    first: str,
    second: str,
    bar: ErrorBar | None,
    errors: Mapping[str, float],
    layers: int,
    attention: int,
    at_init: bool,
) -> Gap:
    parts = [cut.decades(second) - cut.decades(first) for cut in cuts]
    total = math.fsum(part for part in parts if not math.isnan(part))
    noise = 2 * math.hypot(errors[first], errors[second])
    slack = max(_FLOOR, _LAYER * layers) + noise
    if first in ("L0", "L1"):
        slack += _ATTENTION * math.sqrt(attention)
    low, high = -slack, slack
    if bar is not None and second in ("L1", "L2"):
        # An average over noise at one op scatters with the number of its live units only.
        reach = _REACH * math.sqrt(math.fsum(1 / width for width in bar.widths)) / _DECADE
        low, high = low - reach, high + reach
    elif bar is not None:
        low, high = low + min(bar.low, 0.0), high + max(bar.high, 0.0)
    places: tuple[Place, ...] = ()
    if not low <= total <= high:
        whole = total if math.isfinite(total) else math.copysign(1e300, total)
        signed = sorted(zip(parts, cuts, strict=True), key=lambda pair: _last(pair[0] / whole))
        places = tuple(
            Place(cut.op, cut.module, cut.source, part)
            for part, cut in signed[:_PLACES]
            if part / whole >= _PART
        )
    else:  # parts that cancel in the sum
        alone = [(part, cut) for part, cut in zip(parts, cuts, strict=True) if abs(part) > _ALONE]
        alone.sort(key=lambda pair: -abs(pair[0]))
        places = tuple(
            Place(cut.op, cut.module, cut.source, part)
            for part, cut in alone[:_PLACES]
            if not low <= part <= high
        )
    return Gap((first, second), total, low, high, places, at_init)


def _last(part: float) -> float:
    """Sorting key: the largest part first, nan at the end."""
    return math.inf if math.isnan(part) else -part
