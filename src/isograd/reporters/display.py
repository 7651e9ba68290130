"""The display model: everything a report shows, decided once, in one language.

`build` turns a diagnosis into plain rows; the terminal and the notebook lower these rows. The
HTML page shares the verdict and computes the rest in the browser, as its reader may choose
another parameter there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from isograd.records.finding import Diagnosis, Finding, Severity
from isograd.records.history import Comparison, History
from isograd.records.parameter import TimeGains
from isograd.records.snapshot import Snapshot
from isograd.reporters import attention_view, chain_view, naming, numbers, speeds, verdict
from isograd.reporters.attention_view import AttentionRow
from isograd.reporters.chain_view import ChainTable
from isograd.reporters.language import Say, speaker, translate
from isograd.reporters.speeds import Speeds
from isograd.reporters.verdict import KIND_NAMES, Share

Series = tuple[str, tuple[tuple[float, ...], ...]]


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """One number of a finding, as text."""

    name: str
    value: str
    threshold: str
    how: str


@dataclass(frozen=True, slots=True)
class Card:
    """One finding; `labels` are its words for severity, cause, confidence and step."""

    code: str
    title: str
    severity: Severity
    labels: tuple[str, ...]
    where: tuple[str, ...]
    source: str | None
    evidence: tuple[EvidenceRow, ...]
    advice: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MissingRow:
    """Parameters without gradient for one reason."""

    reason: str
    count: int
    names: tuple[str, ...]
    detail: str
    source: str | None


@dataclass(frozen=True, slots=True)
class RecurrentRow:
    """Gradient through time of one recurrent layer, from its last step to its first."""

    module: str
    layer: str
    steps: int
    decades: float
    per_step: float
    norms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class HistoryTable:
    """Numbers over a training, or over two side by side: before and after.

    Attributes:
        titles: Of the trainings.
        steps: Number of the last step.
        scores: Loss and score: the name, then the values of each training.
        layers: Learning speeds, in the same form.
    """

    titles: tuple[str, ...]
    steps: int
    scores: tuple[Series, ...]
    layers: tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class Display:
    """What a report shows, from top to bottom.

    `chain` is None where there is nothing to take apart; if it was asked for, `chain_gap` says
    why. `classes` names the classes of modules whose path is only a number.
    """

    title: str
    facts: str
    ok: bool
    verdict: tuple[str, str, str]
    findings: tuple[Card, ...]
    chain: ChainTable | None
    chain_title: str
    chain_gap: str
    kinds: tuple[Share, ...]
    modules: tuple[Share, ...]
    speeds: Speeds
    missing: tuple[MissingRow, ...]
    attention: tuple[AttentionRow, ...]
    recurrent: tuple[RecurrentRow, ...]
    comparison: Comparison | None
    histories: tuple[HistoryTable, ...]
    not_observed: tuple[str, ...]
    not_checked: tuple[str, ...]
    notes: tuple[str, ...]
    classes: Mapping[str, str]

    @property
    def severity(self) -> Severity:
        """Of the finding that the verdict is about; `info` if there is none."""
        alarms = [card for card in self.findings if card.severity != "info"]
        return alarms[0].severity if alarms else "info"


def build(
    diagnosis: Diagnosis, lang: str = "en", *, full: bool = False, parameter: str | None = None
) -> Display:
    """Decide what a report shows.

    Args:
        diagnosis: What to show.
        lang: `en` or `zh`.
        full: Unfold long chains.
        parameter: Whose chain; by default the one to look at first.

    Raises:
        KeyError: If there is no such parameter.
        ValueError: If there is no such language.
    """
    say = speaker(lang)
    snapshot = diagnosis.snapshot
    classes = naming.classes(snapshot)
    chain = snapshot.main_chain() if parameter is None else snapshot.chain(parameter)
    table = chain_view.table(chain, full=full) if chain and chain.links else None
    gap = ""
    if parameter is not None and table is None:
        gap = _gap(snapshot, parameter, say, lang)
    title = say("chain from the loss to `{parameter}`", parameter=parameter) if gap else ""
    return Display(
        title=diagnosis.target or say("model"),
        facts=_facts(snapshot, say),
        ok=diagnosis.ok,
        verdict=verdict.lines(diagnosis, say, lang),
        findings=tuple(_card(finding, classes, say, lang) for finding in diagnosis.findings),
        chain=table,
        chain_title=chain_view.title(table, say, lang) if table else title,
        chain_gap=gap,
        kinds=tuple(
            replace(row, name=say(KIND_NAMES.get(row.name, row.name)))
            for row in verdict.shares(chain_view.booked(chain, "kind"))
        ),
        modules=tuple(
            replace(row, name=naming.place(row.name, classes, say))
            for row in verdict.shares(chain_view.booked(chain, "module"))
        ),
        speeds=speeds.build(snapshot, say),
        missing=tuple(_missing(snapshot, lang)),
        attention=attention_view.rows(snapshot),
        recurrent=tuple(_recurrent(gains, say) for gains in snapshot.recurrent),
        comparison=_comparison(diagnosis.comparison, lang),
        histories=tuple(_histories(diagnosis, say)),
        not_observed=_translated(snapshot.not_observed, lang),
        not_checked=_translated(diagnosis.not_checked, lang),
        notes=_translated(diagnosis.notes, lang),
        classes=classes,
    )


def _gap(snapshot: Snapshot, parameter: str, say: Say, lang: str) -> str:
    """Why a parameter has no chain."""
    missing = snapshot.parameters[parameter].missing
    if missing is None:
        return say("no op between the loss and `{parameter}` was seen", parameter=parameter)
    reason = translate(missing.detail or missing.reason, lang)
    if missing.source:
        reason += say(" ({source})", source=missing.source)
    return say(
        "no gradient reaches `{parameter}`: {reason} (G501)", parameter=parameter, reason=reason
    )


def _facts(snapshot: Snapshot, say: Say) -> str:
    parts = [
        say("loss {value}", value=numbers.number(snapshot.loss)),
        say("ops {n}", n=len(snapshot.ops)),
        say("parameters {n}", n=len(snapshot.parameters)),
        snapshot.dtype,
    ]
    if snapshot.samples is not None:
        parts.append(say("batch {n}", n=snapshot.samples))
    return " · ".join(parts)


def _card(finding: Finding, classes: Mapping[str, str], say: Say, lang: str) -> Card:
    labels = [say(finding.severity)]
    if finding.cause != "none":
        labels.append(say("cause: {cause}", cause=say(finding.cause)))
    if finding.confidence < 1:
        labels.append(say("confidence {percent} %", percent=round(100 * finding.confidence)))
    if finding.step:
        labels.append(say("step {n}", n=finding.step))
    rows = tuple(
        EvidenceRow(
            translate(item.name, lang),
            f"{numbers.plain(item.value)} {translate(item.unit, lang)}".strip(),
            "" if item.threshold is None else numbers.plain(item.threshold),
            translate(item.how, lang),
        )
        for item in finding.evidence
    )
    return Card(
        finding.code,
        translate(finding.title, lang),
        finding.severity,
        tuple(labels),
        tuple(naming.place(name, classes, say) for name in finding.where),
        finding.source,
        rows,
        _translated(finding.advice, lang),
    )


def _missing(snapshot: Snapshot, lang: str) -> Iterable[MissingRow]:
    groups: dict[str, list[str]] = {}
    for name, stats in snapshot.parameters.items():
        if stats.missing is not None:
            groups.setdefault(stats.missing.reason, []).append(name)
    for reason, names in groups.items():
        why = snapshot.parameters[names[0]].missing
        assert why is not None
        yield MissingRow(
            translate(reason, lang),
            len(names),
            tuple(names),
            translate(why.detail, lang),
            why.source,
        )


def _recurrent(gains: TimeGains, say: Say) -> RecurrentRow:
    lost = math.nan
    if len(gains.norms) > 1:
        lost = numbers.log10(numbers.ratio(gains.norms[0], gains.norms[-1]))
    steps = len(gains.norms)
    per_step = 10 ** (lost / (steps - 1)) if steps > 1 and math.isfinite(lost) else math.nan
    layer = f"{gains.layer} {say(gains.direction)}"
    return RecurrentRow(gains.module, layer, steps, lost, per_step, gains.norms)


def _comparison(comparison: Comparison | None, lang: str) -> Comparison | None:
    if comparison is None:
        return None
    remedies = tuple(
        replace(item, name=translate(item.name, lang), reason=translate(item.reason, lang))
        for item in comparison.remedies
    )
    return replace(
        comparison, metric_name=translate(comparison.metric_name, lang), remedies=remedies
    )


def _histories(diagnosis: Diagnosis, say: Say) -> Iterable[HistoryTable]:
    history, tried = diagnosis.history, diagnosis.comparison
    if history is not None and (tried is None or tried.before != history):
        yield _trainings((say("short training"),), (history,), say)
    if tried is not None:
        yield _trainings((say("before"), say("after")), (tried.before, tried.after), say)


def _trainings(titles: tuple[str, ...], histories: tuple[History, ...], say: Say) -> HistoryTable:
    speeds = [dict(zip(h.layers, h.speeds, strict=False)) for h in histories]
    names = dict.fromkeys(name for h in histories for name in h.layers)
    metric = next((h.metric_name for h in histories if h.metric_name), "score")
    scores: list[Series] = [
        (say("loss"), tuple(h.loss for h in histories)),
        (say(metric), tuple(h.metric for h in histories)),
    ]
    layers = [(name, tuple(speed.get(name, ()) for speed in speeds)) for name in names]
    steps = max((h.steps[-1] for h in histories if h.steps), default=0)
    return HistoryTable(titles, steps, tuple(s for s in scores if any(s[1])), tuple(layers))


def _translated(texts: Iterable[str], lang: str) -> tuple[str, ...]:
    return tuple(translate(text, lang) for text in texts)
