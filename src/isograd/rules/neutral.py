"""Causes proved on the same batch: which factor's absence makes the symptom go."""

from __future__ import annotations

import math
from dataclasses import replace

from isograd.records import Diagnosis, Evidence, Finding
from isograd.records.finding import Cause
from isograd.records.neutral import Factor, Neutral
from isograd.records.op import Kind
from isograd.rules.case import CAUSE_WORDS, CAUSES, Case

# Findings about the gradient product between the first layer and the last hidden one.
PRODUCT = frozenset(("G101", "G102", "G103", "G104", "G107", "G111"))
# A finding about the logits of attention.
ATTENTION = "G106"
# A factor has made the symptom go if this part of it is left, on either side of none.
GONE = 0.5
# Another one explains more if it leaves less of it by this part.
CLEARLY = 0.25
# A second factor is a cause of its own if this part goes with it.
CONSIDERABLE = 1 / 3
# In words; rows below this many decades say nothing.
_SHOWN = 0.1


def stretch(found: Diagnosis) -> tuple[int, int] | None:
    """Where to make factors neutral: ops of the first layer and of the last hidden one.

    Args:
        found: What rules say of a measurement.

    Returns:
        Indices of the two ops; None if no alarm is about the product between them.
    """
    if not any(f.alarm and f.code in PRODUCT for f in found.findings):
        return None
    hidden = Case(found.snapshot).hidden
    return None if hidden is None else (hidden.first.op_index, hidden.last.op_index)


def collapsed(found: Diagnosis) -> int | None:
    """The attention to cool: the sharpest one that an alarm about the start names, if any."""
    named = [f for f in found.findings if f.code == ATTENTION and f.alarm and f.step == 0]
    places = {path for finding in named for path in finding.where}
    ops = [
        op
        for op in found.snapshot.ops
        if op.attention is not None and (op.module or op.name) in places
    ]
    sharpest = min(ops, key=lambda op: op.attention.entropy if op.attention else 1.0, default=None)
    return None if sharpest is None else sharpest.index


def decided(case: Case, kind: Kind | str) -> tuple[str, str | None]:
    """The kind of factor to blame for the decades of the stretch, and a second one.

    Args:
        case: The measurement, with its factors made neutral or without.
        kind: What the accounts along the chain blame.

    Returns:
        The same kind, unless more than half of the symptom stays without it and clearly less stays
        without another; and one more whose absence takes a considerable part away, or None.
    """
    rows = {row.factor: _net(case, row) for row in _stretched(case) if row.held == "neutral"}
    own = rows.get(kind)  # type: ignore[call-overload]
    if own is None or not own.base:
        return str(kind), None
    best = min(rows.values(), key=_left)
    if _left(own) > GONE and _left(best) <= _left(own) - CLEARLY:
        own = best
    others = [
        row
        for row in rows.values()
        if row is not own and row.share >= CONSIDERABLE and _left(row) < 1
    ]
    second = max(others, key=lambda row: row.share, default=None)
    return own.factor, second.factor if second is not None else None


def words(kind: str, second: str | None, plain: str) -> str:
    """`most of it by weights`, or `by both weights and activation derivative`."""
    cause = CAUSE_WORDS[CAUSES[kind]]
    if second is None:
        return f"{plain} {cause}"
    return f"by both {cause} and {CAUSE_WORDS[CAUSES[second]]}"


def with_effects(case: Case, finding: Finding) -> tuple[Evidence, ...]:
    """Rows for a finding about the product: what each factor causes, measured.

    Args:
        case: The measurement.
        finding: An alarm about the product; other findings get nothing.
    """
    if finding.alarm and finding.code == ATTENTION:
        rows = (row for row in case.snapshot.neutral if row.where in finding.where)
        return tuple(_cooled(row) for row in rows)
    if finding.code not in PRODUCT or not finding.alarm:
        return ()
    rows = [row for row in _stretched(case) if abs(row.effect) >= _SHOWN]
    blamed = [row for row in rows if CAUSES[row.factor] == finding.cause]
    if finding.cause == "dead-units":
        blamed = [row for row in rows if row.factor == "activation"]
    others = [
        row
        for row in rows
        if row not in blamed and _net(case, row).share >= CONSIDERABLE and _left(row) < 1
    ]
    return tuple(_row(row) for row in (*blamed, *others))


def note(case: Case) -> tuple[str, ...]:
    """A line for each factor with the decades that are left without it."""
    return tuple(
        f"same batch with {_word(row.factor)} made neutral: {row.decades:+.1f} decades from the "
        f"last layer to the first instead of {row.base:+.1f}"
        for row in _stretched(case)
        if row.held == "neutral"
    )


def _stretched(case: Case) -> list[Neutral]:
    """Rows about the product between the last hidden layer and the first."""
    return [row for row in case.snapshot.neutral if not row.where]


def _net(case: Case, row: Neutral) -> Neutral:
    """Norms divide by what the weights in front of them multiply with: only the rest is theirs."""
    weights = case.hidden.by_kind().get("weight", 0.0) if case.hidden is not None else 0.0
    if row.factor != "normalization" or row.effect * weights >= 0:
        return row
    rest = max(0.0, abs(row.effect) - abs(weights))
    return replace(row, decades=row.base - math.copysign(rest, row.effect))


def _left(row: Neutral) -> float:
    """Part of the symptom that is left, on either side of none."""
    return abs(row.decades / row.base)


def _word(factor: Factor) -> str:
    cause: Cause = CAUSES[factor]
    return CAUSE_WORDS[cause]


def _cooled(row: Neutral) -> Evidence:
    name = "decades at queries and keys caused by its logits"
    return Evidence(name, row.effect, "decades", None, _HOW["attention", "neutral"])


def _row(row: Neutral) -> Evidence:
    if row.held == "typical":
        name = f"of these by which entries pass ({_word(row.factor)})"
    else:
        name = f"decades caused by {_word(row.factor)}"
    return Evidence(name, row.effect, "decades", None, _HOW[row.factor, row.held])


_HOW = {
    ("activation", "neutral"): "same batch again, its backward factor 1 (rectifiers: sqrt(1/2))",
    ("activation", "typical"): "same batch again, its backward factor a constant of equal RMS",
    ("normalization", "neutral"): "same batch again, the gradient handed past the norms",
    ("normalization", "typical"): "same batch again, its backward factor a constant of equal RMS",
    ("residual", "neutral"): "same batch again, the gradient handed to the skip paths alone",
    ("weight", "neutral"): "same batch on a copy whose layers are rescaled to a gain of 1",
    ("attention", "neutral"): "same batch on a copy whose attention logits have unit spread",
}

# Chinese for the texts above, by template.
ZH = {
    "decades at queries and keys caused by its logits": "由其 logits 造成的查询和键处的数量级变化",
    "decades caused by {cause}": "实测由{cause}造成的数量级变化",
    "of these by which entries pass ({cause})": "其中由哪些元素通过梯度造成（{cause}）",
    _HOW["activation", "neutral"]: "同一批次重放，其反向因子为 1（整流类为 sqrt(1/2)）",
    _HOW["activation", "typical"]: "同一批次重放，其反向因子为均方根相等的常数",
    _HOW["normalization", "neutral"]: "同一批次重放，梯度直接绕过归一化",
    _HOW["residual", "neutral"]: "同一批次重放，梯度只交给跳连",
    _HOW["weight", "neutral"]: "同一批次，在各层缩放到增益为 1 的副本上重放",
    _HOW["attention", "neutral"]: "同一批次，在注意力 logits 为单位离散度的副本上重放",
    "same batch with {cause} made neutral: {a} decades from the last layer to the first instead of "
    "{b}": "同一批次使{cause}变为中性：末层到首层为 {a} 个数量级，而不是 {b}",
}
