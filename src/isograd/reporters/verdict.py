"""The three lines people read first: what, where and which factor, what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from isograd.records.chain import Chain
from isograd.records.finding import Cause, Diagnosis, Finding
from isograd.reporters import chain_view, naming, numbers, speeds
from isograd.reporters.language import Say, translate

KIND_NAMES: Mapping[str, str] = {
    "weight": "weights",
    "activation": "activation derivative",
    "normalization": "normalization",
    "attention": "attention softmax",
    "residual": "residual add",
    "pooling": "pooling",
    "reshape": "reshaping",
    "dropout": "dropout",
    "recurrence": "recurrence",
    "loss": "loss head",
    "other": "other ops",
}

# Causes that are a factor of the product, so that line 2 shows the factors; for the others
# (learning rate, data, labels ...) it shows the decisive number instead.
FACTOR_CAUSES: frozenset[Cause] = frozenset(
    {
        "activation-derivative",
        "dead-units",
        "weight-scale",
        "input-scale",
        "normalization",
        "attention-scale",
        "residual-scale",
        "rank-collapse",
        "recurrence",
        "loss-head",
        "none",
    }
)
FLAT = 0.05  # decades; below, neither lost nor gained


@dataclass(frozen=True, slots=True)
class Share:
    """Decades of one kind or module, and its percentage of all that is lost (or gained)."""

    name: str
    decades: float
    percent: int | None


def shares(decades: Mapping[str, float]) -> tuple[Share, ...]:
    """Percentages among the entries that have the sign of the total.

    >>> shares({"activation": -3.0, "weight": -1.0, "loss": 0.5})[0]
    Share(name='activation', decades=-3.0, percent=75)
    """
    lost = not sum(decades.values()) > 0
    alike = {k: abs(d) for k, d in decades.items() if (d < 0) == lost and d != 0}
    whole = dict(zip(alike, numbers.percents(list(alike.values())), strict=True))
    if not all(math.isfinite(d) for d in decades.values()):
        whole = {}
    rows = (Share(name, value, whole.get(name)) for name, value in decades.items())
    return tuple(sorted(rows, key=lambda row: _rank(row.decades if lost else -row.decades)))


def _rank(decades: float) -> float:
    return -math.inf if math.isnan(decades) else decades


def lines(diagnosis: Diagnosis, say: Say, lang: str) -> tuple[str, str, str]:
    """What, where, what to do."""
    alarms = [finding for finding in diagnosis.findings if finding.alarm]
    chain = diagnosis.snapshot.main_chain()
    if not alarms:
        what = say("healthy: no gradient fault found")
        return what, _factors(diagnosis, chain, say), _checked(diagnosis, say)
    first = alarms[0]
    what = f"{first.code} {translate(first.title, lang)}"
    if len(alarms) > 1:
        what += say(" (+{n} more)", n=len(alarms) - 1)
    broken = chain is not None and chain_view.stop(chain.links) is not None
    if first.cause in FACTOR_CAUSES or broken or not first.evidence:
        where = _factors(diagnosis, chain, say)
    else:
        where = _evidence(first, naming.classes(diagnosis.snapshot), say, lang)
    return what, where, _remedy(diagnosis, first, say, lang)


def _factors(diagnosis: Diagnosis, chain: Chain | None, say: Say) -> str:
    if chain is None or not chain.links:
        return say("no gradient reached any parameter, so there is no product to take apart")
    classes = naming.classes(diagnosis.snapshot)
    link = chain_view.stop(chain.links)
    if link is not None:
        module = naming.place(link.module, classes, say)
        place = say(" in `{module}`", module=module) if link.module else ""
        place += say(" ({source})", source=link.source) if link.source else ""
        if link.gain == 0:
            return say("the gradient is exactly zero below `{op}`{place}", op=link.op, place=place)
        return say("the gradient is not finite below `{op}`{place}", op=link.op, place=place)
    total = sum(link.decades for link in chain.links)
    head = chain.links[0]
    ends = {
        "a": "loss" if head.kind == "loss" or not head.module else _titled(head.module, classes),
        "b": _titled(chain.parameter.rpartition(".")[0] or chain.parameter, classes),
    }
    if abs(total) < FLAT:
        return say("no decade lost or gained between `{a}` and `{b}`", **ends)
    parts = shares(chain_view.booked(chain, "kind"))
    listed = say(", ").join(
        say(
            "{kind} {percent} %",
            kind=say(KIND_NAMES.get(part.name, part.name)),
            percent=part.percent,
        )
        for part in parts[:4]
        if part.percent
    )
    values = {"decades": f"{abs(total):.1f}", "shares": listed, **ends}
    if total > 0:
        return say("{decades} decades gained between `{a}` and `{b}`: {shares}", **values)
    text = say("{decades} decades lost between `{a}` and `{b}`: {shares}", **values)
    back = sum(part.decades for part in parts if part.decades > 0)
    if back > 0.1 * (back - total):
        names = say(", ").join(
            say(KIND_NAMES.get(p.name, p.name)) for p in reversed(parts) if p.decades > 0.1 * back
        )
        text += say("; gained back by {kinds}: {decades}", kinds=names, decades=f"{back:.1f}")
    return text


def _titled(path: str, classes: Mapping[str, str]) -> str:
    return naming.place(path, classes, str)


def _evidence(finding: Finding, classes: Mapping[str, str], say: Say, lang: str) -> str:
    decisive = finding.evidence[0]
    value = f"{numbers.plain(decisive.value)} {translate(decisive.unit, lang)}".strip()
    text = say("{name}: {value}", name=translate(decisive.name, lang), value=value)
    if decisive.threshold is not None:
        text += say(" (threshold {value})", value=numbers.plain(decisive.threshold))
    where = _titled(finding.where[0], classes) if finding.where and finding.where[0] else None
    if where and finding.source:
        return text + say(" at `{where}`, {source}", where=where, source=finding.source)
    if where or finding.source:
        return text + say(" at `{where}`", where=where or finding.source)
    return text


def _remedy(diagnosis: Diagnosis, finding: Finding, say: Say, lang: str) -> str:
    tried = diagnosis.comparison
    chosen = next((r for r in tried.remedies if r.chosen), None) if tried else None
    if tried and chosen and len(tried.remedies) > 1:
        before = tried.remedies[0]
        return say(
            "{name}: last/first learning speed {a} -> {b}, loss {c} -> {d} (tried and measured)",
            name=translate(chosen.name, lang),
            a=numbers.times(before.spread),
            b=numbers.times(chosen.spread),
            c=numbers.number(before.loss),
            d=numbers.number(chosen.loss),
        )
    if finding.advice:
        return translate(finding.advice[0], lang)
    return say("see the findings below")


def _checked(diagnosis: Diagnosis, say: Say) -> str:
    snapshot = diagnosis.snapshot
    reached = sum(stats.missing is None for stats in snapshot.parameters.values())
    text = say(
        "checked: {ops} ops, {reached} of {all} parameters with a gradient",
        ops=len(snapshot.ops),
        reached=reached,
        all=len(snapshot.parameters),
    )
    noise, classes = speeds.rounding(snapshot), naming.classes(snapshot)
    known = [
        layer
        for i, layer in enumerate(snapshot.layers)
        if 0 < layer.per_sample_rms < math.inf and i not in noise
    ]
    if len(known) > 1:
        fast = max(known, key=lambda s: s.per_sample_rms)
        slow = min(known, key=lambda s: s.per_sample_rms)
        text += say(
            "; fastest layer / slowest {spread} (`{fast}` / `{slow}`, per-sample RMS)",
            spread=numbers.times(fast.per_sample_rms / slow.per_sample_rms),
            fast=_titled(fast.module, classes),
            slow=_titled(slow.module, classes),
        )
    if diagnosis.not_checked:
        n = len(diagnosis.not_checked)
        text += say("; {n} rule lacked data" if n == 1 else "; {n} rules lacked data", n=n)
    return text
