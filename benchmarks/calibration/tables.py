"""Rates with their intervals, and quantiles beside the limits of the rules, as markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from isograd.records import Op, Snapshot, training
from isograd.records.training import Training
from isograd.rules import (
    g101_vanishing,
    g102_exploding,
    g103_dead_units,
    g104_saturation,
    g108_rank_collapse,
    g112_forward,
    g303_rate,
    g701_noise,
)
from isograd.rules.case import Case

Row = dict[str, Any]

# Two-sided 95 % of the normal distribution.
Z = 1.959964


def wilson(hits: int, total: int, z: float = Z) -> tuple[float, float]:
    """Wilson's (1927) interval for a share, which is right for small counts too.

    >>> [round(x, 3) for x in wilson(0, 10)]
    [0.0, 0.278]
    """
    if total == 0:
        return 0.0, 1.0
    share, spread = hits / total, z * z / total
    middle = share + spread / 2
    half = z * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    low, high = ((middle + sign * half) / (1 + spread) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)


@dataclass(frozen=True)
class Limit:
    """A number without a unit, and the constant that a rule compares it with.

    Attributes:
        key: Key of the number in a row.
        name: What it is.
        rule: Where the constant stands.
        value: The constant.
        above: True if the rule looks for numbers above it, False for those below.
    """

    key: str
    name: str
    rule: str
    value: float
    above: bool

    def passed(self, value: float) -> bool:
        """True if a number lies on the side that the rule looks for."""
        return value > self.value if self.above else value < self.value


LIMITS = (
    Limit(
        "decades",
        "decades from the last to the first hidden layer",
        "G101 `-DECADES`",
        -g101_vanishing.DECADES,
        False,
    ),
    Limit("decades", "the same", "G102 `DECADES`", g102_exploding.DECADES, True),
    Limit("dead", "dead share, worst layer", "G103 `DEAD`", g103_dead_units.DEAD, True),
    Limit(
        "saturated",
        "saturated share, worst layer",
        "G104 `SATURATED`",
        g104_saturation.SATURATED,
        True,
    ),
    Limit(
        "between",
        "share that differs between samples, worst layer but the last",
        "G108 `ALIKE`",
        g108_rank_collapse.ALIKE,
        False,
    ),
    Limit(
        "between_last",
        "the same at the last layer, over the largest",
        "G108 `ALIKE_FAILING`",
        g108_rank_collapse.ALIKE_FAILING,
        False,
    ),
    Limit("forward", "decades of the forward signal", "G112 `DECADES`", g112_forward.DECADES, True),
    Limit("forward", "the same", "G112 `-DYING`", -g112_forward.DYING, False),
    Limit("update", "update ratio", "G303 `TINY`", g303_rate.TINY, False),
    Limit("update", "the same", "G701 `FAR`", g701_noise.FAR, True),
    Limit(
        "secant",
        "rate times curvature, worst median of 8 steps",
        "G303 `LIMIT`",
        g303_rate.LIMIT,
        True,
    ),
    Limit(
        "uses",
        "use of the inputs, standard errors",
        "G402 `STANDARD_ERRORS`",
        training.STANDARD_ERRORS,
        False,
    ),
)


def quantities(snapshot: Snapshot, trained: Training | None) -> dict[str, float | None]:
    """The numbers that `LIMITS` speak of, of one net; None where it has no such number."""
    case = Case(snapshot, trained)
    units = [op.units for op in case.hidden_activations() if op.units is not None]
    dead = [u.dead_fraction for u in units if u.saturated_fraction is None]
    flat = [u.saturated_fraction for u in units if u.saturated_fraction is not None]
    between = [x for x in map(_between, snapshot.ops) if x is not None]
    secant: Sequence[float] = trained.secant if trained else ()
    length = g303_rate.STEPS
    windows = [median(secant[i : i + length]) for i in range(len(secant) - length + 1)]
    return {
        "decades": case.hidden.decades if case.hidden else None,
        "dead": max(dead, default=None),
        "saturated": max(flat, default=None),
        "between": min(between[1:-1], default=None),
        "between_last": between[-1] / max(between) if between and max(between) > 0 else None,
        "forward": _forward(snapshot),
        "update": trained.update_ratio() if trained else None,
        "secant": max(windows, default=None),
        "uses": trained.uses if trained else None,
    }


def _between(op: Op) -> float | None:
    return op.output.between if op.output is not None and op.on_path else None


def _forward(snapshot: Snapshot) -> float | None:
    """Decades from the output of the first layer to the input of the last."""
    ends = [snapshot.ops[snapshot.layers[i].op_index] for i in (0, -1)] if snapshot.layers else []
    if len(snapshot.layers) < 2 or ends[0].output is None or ends[1].inputs is None:
        return None
    start, end = ends[0].output.rms, ends[1].inputs.rms
    return math.log10(end / start) if 0 < start < math.inf and 0 < end < math.inf else None


def quantile(values: Sequence[float], share: float) -> float:
    """Quantile with linear interpolation; nan of nothing.

    >>> quantile([3.0, 1.0, 2.0], 0.25)
    1.5
    """
    if not values:
        return math.nan
    ranked = sorted(values)
    at = share * (len(ranked) - 1)
    low, part = int(at), at - int(at)
    if part == 0:
        return ranked[low]
    return (1 - part) * ranked[low] + part * ranked[low + 1]


def markdown(rows: Sequence[Row], head: str) -> str:
    """All tables.

    Args:
        rows: What `run.measured` returned, with `truth`.
        head: A line above them.
    """
    good = [r for r in rows if r["truth"] == "learns"]
    bad = [r for r in rows if r["truth"] == "fails"]
    false, found = (sum(bool(r["alarms"]) for r in part) for part in (good, bad))
    lines = [
        f"{head} {len(good)} learn, {len(bad)} fail, {len(rows) - len(good) - len(bad)} are in "
        "between and left out.\n",
        "| | alarms | nets | share | 95 % interval |",
        "|---|--:|--:|--:|--:|",
        _rate("false positives, of nets that learn", false, len(good)),
        _rate("recall, of nets that fail", found, len(bad)),
        "\n| rule | fires on nets that learn | on nets that fail |",
        "|---|--:|--:|",
    ]
    for code in sorted({code for r in (*good, *bad) for code in r["codes"]}):
        cells = [_of(sum(code in r["codes"] for r in part), len(part)) for part in (good, bad)]
        lines.append(f"| {code} | {cells[0]} | {cells[1]} |")
    lines += [
        "\n| quantity | 1 % | 50 % | 99 % | limit | learning nets past it | failing nets past it |",
        "|---|--:|--:|--:|---|--:|--:|",
    ]
    lines += [_quantity(limit, good, bad) for limit in LIMITS]
    return "\n".join(lines) + "\n"


def _rate(name: str, hits: int, total: int) -> str:
    low, high = (f"{100 * x:.1f} %" for x in wilson(hits, total))
    share = f"{100 * hits / total:.1f} %" if total else "–"
    return f"| {name} | {hits} | {total} | {share} | {low} to {high} |"


def _of(hits: int, total: int) -> str:
    return f"{hits} ({100 * hits / total:.1f} %)" if total and hits else str(hits)


def _quantity(limit: Limit, good: Sequence[Row], bad: Sequence[Row]) -> str:
    known = [[r[limit.key] for r in part if r.get(limit.key) is not None] for part in (good, bad)]
    shown = " | ".join(f"{quantile(known[0], share):.2g}" for share in (0.01, 0.5, 0.99))
    past = " | ".join(_of(sum(map(limit.passed, part)), len(part)) for part in known)
    side = "above" if limit.above else "below"
    return f"| {limit.name} | {shown} | {side} {limit.value:g} ({limit.rule}) | {past} |"
