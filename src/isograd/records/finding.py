"""What a rule says, and what all rules say together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal

from isograd.records import codec
from isograd.records.history import Comparison, History
from isograd.records.snapshot import Snapshot
from isograd.records.training import Training

Severity = Literal["error", "warning", "info"]
Cause = Literal[
    "activation-derivative",
    "dead-units",
    "weight-scale",
    "input-scale",
    "normalization",
    "attention-scale",
    "residual-scale",
    "rank-collapse",
    "recurrence",
    "learning-rate",
    "noise",
    "weight-decay",
    "regularization",
    "clipping",
    "optimizer-state",
    "accumulation",
    "loss-head",
    "loss-shape",
    "labels",
    "data",
    "numerics",
    "precision",
    "graph-cut",
    "frozen",
    "non-differentiable",
    "collective",
    "none",
]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One number behind a finding.

    Attributes:
        name: What was measured.
        value: The number.
        unit: Its unit; "" if dimensionless.
        threshold: The value it was compared with, or None if it is shown for context.
        how: How it was measured, in a few words.
    """

    name: str
    value: float
    unit: str = ""
    threshold: float | None = None
    how: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule's verdict.

    Attributes:
        code: Stable code such as `G101`.
        title: One sentence.
        severity: `error` and `warning` are alarms; `info` explains.
        cause: Kind of cause.
        where: Paths of the modules or parameters concerned.
        source: "file.py:42" or None.
        evidence: The numbers, the decisive one first.
        advice: What to do, the most promising first.
        confidence: In [0, 1].
        step: Training step it was seen at; 0 for a probe.
    """

    code: str
    title: str
    severity: Severity
    cause: Cause
    where: tuple[str, ...] = ()
    source: str | None = None
    evidence: tuple[Evidence, ...] = ()
    advice: tuple[str, ...] = ()
    confidence: float = 1.0
    step: int = 0

    @property
    def alarm(self) -> bool:
        """True unless it only explains."""
        return self.severity != "info"


# Formats a diagnosis can be written in; a reporter adds itself here, so that records stay
# free of reporters.
WRITERS: dict[str, Callable[..., str]] = {}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings on one model, causes first, with the measurement behind them.

    Attributes:
        findings: Causes before symptoms.
        not_checked: Rules that lacked data, one sentence each.
        snapshot: The measurement.
        history: Learning speeds and loss over a short training, if one was run.
        comparison: Remedies that were tried, if any.
        target: What was checked, for the title.
        training: The numbers of the short training behind `history`.
        notes: Sentences shown beside the verdict.
    """

    findings: tuple[Finding, ...]
    not_checked: tuple[str, ...]
    snapshot: Snapshot
    history: History | None = None
    comparison: Comparison | None = None
    target: str = ""
    training: Training | None = None
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if no finding is an error or a warning."""
        return not any(finding.alarm for finding in self.findings)

    @property
    def verdict(self) -> str:
        """One line."""
        alarms = [finding for finding in self.findings if finding.alarm]
        if not alarms:
            return "healthy: no gradient fault found"
        rest = f" (+{len(alarms) - 1} more)" if len(alarms) > 1 else ""
        return f"{alarms[0].code} {alarms[0].title}{rest}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, with `schema`, `ok` and `verdict`."""
        return {**codec.encode(self), "ok": self.ok, "verdict": self.verdict}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Diagnosis:
        """Inverse of `to_dict`.

        Raises:
            ValueError: If the data has another schema version.
        """
        return codec.decode(cls, data)

    def save_html(self, path: str | PathLike[str], *, lang: str = "en") -> None:
        """Write one offline page.

        Args:
            path: File to write; replaced if it exists.
            lang: Language the page opens in, `en` or `zh`; a button switches.

        Raises:
            OSError: If the file cannot be written.
        """
        page = WRITERS["html"](self, lang=lang)
        with open(path, "w", encoding="utf-8") as file:
            file.write(page)

    def _repr_html_(self) -> str:
        return WRITERS["notebook"](self)

    def __str__(self) -> str:
        return WRITERS["text"](self) if "text" in WRITERS else self.verdict
