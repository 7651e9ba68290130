"""Tables of the benchmark of fixes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from diagnosis.registry import GROUPS

Row = dict[str, Any]


def line(row: Row) -> str:
    """One row, for the terminal."""
    first = row["claims"][0]["title"] if row["claims"] else "-"
    said = row.get("crash") or row.get("refused") or first
    mark = "cured" if row["cured"] else "MISS"
    fixed = f"{row['fixed']:.2f}" if row["fixed"] is not None else "   -"
    numbers = f"{row['unchanged']:.2f} -> {fixed} of {row['reference']:.2f}"
    doubt = sum(not c["confirmed"] for c in row["claims"])
    alarms = ", ".join(row.get("alarms", [])[:2])
    note = f" UNCONFIRMED {doubt}" if doubt else ""
    return f"{mark:6}{row['name']:32}{numbers} {row['seconds']:5.0f}s {said[:60]} [{alarms}]{note}"


def summary(rows: Sequence[Row], all_of: int | None = None) -> str:
    """All tables, as Markdown.

    Args:
        rows: What was judged.
        all_of: How many faults there are.
    """
    parts = [*_rates(rows), "", *_misses(rows), "", *_predicted(rows)]
    if all_of is not None and len(rows) < all_of:
        parts = [f"{len(rows)} of {all_of} faults, the first in the drawn order.", "", *parts]
    return "\n".join(parts)


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({part / whole:.0%})" if whole else "-"


def _interval(part: int, whole: int) -> tuple[float, float]:
    """Wilson's interval (1927) of a rate."""
    if not whole:
        return 0.0, 1.0
    z, rate = 1.96, part / whole
    centre = (rate + z * z / (2 * whole)) / (1 + z * z / whole)
    half = z * math.sqrt(rate * (1 - rate) / whole + z * z / (4 * whole * whole))
    half /= 1 + z * z / whole
    return centre - half, centre + half


def _rates(rows: Sequence[Row]) -> Iterator[str]:
    yield "| group | cured by the first proven fix | unchanged | random change |"
    yield "|---|---|---|---|"
    groups = sorted({row["group"] for row in rows})
    for group in (*groups, None):
        part = [row for row in rows if group in (None, row["group"])]
        cells = (
            _share(sum(bool(row[key]) for row in part), len(part))
            for key in ("cured", "cured by none", "cured by chance")
        )
        yield f"| {GROUPS[group] if group is not None else 'all'} | {' | '.join(cells)} |"
    low, high = _interval(sum(bool(row["cured"]) for row in rows), len(rows))
    yield ""
    yield f"Cured, with the error of so many faults: {low:.0%} to {high:.0%} (95 %, Wilson)."
    claims = [claim for row in rows for claim in row["claims"]]
    doubtful = sum(not claim["confirmed"] for claim in claims)
    yield ""
    yield f"Claims of *proven* that fresh seeds do not confirm: {_share(doubtful, len(claims))}."


def _misses(rows: Sequence[Row]) -> Iterator[str]:
    missed = [row for row in rows if not row["cured"]]
    if not missed:
        return
    yield "| not cured | unchanged | fixed | reference | first proven fix |"
    yield "|---|---|---|---|---|"
    for row in missed:
        fixed = "-" if row["fixed"] is None else f"{row['fixed']:.3f}"
        first = row["claims"][0]["title"] if row["claims"] else "none"
        first = row.get("crash") or row.get("refused") or first
        yield (
            f"| {row['name']} | {row['unchanged']:.3f} | {fixed} | {row['reference']:.3f} "
            f"| {first} |"
        )


def _predicted(rows: Sequence[Row]) -> Iterator[str]:
    found = [
        (row["name"], trial)
        for row in rows
        for trial in row["trials"]
        if None not in trial["decades"]
    ]
    if not found:
        return
    yield "Decades of the product down to the first layer, before training:"
    yield ""
    yield "| fault | fix | before | predicted | measured |"
    yield "|---|---|---|---|---|"
    for name, trial in found:
        before, predicted, measured = trial["decades"]
        yield f"| {name} | {trial['title']} | {before:+.2f} | {predicted:+.2f} | {measured:+.2f} |"
