"""Which fixes are worth a trial, and what is known of each so far."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from isograd.fixes.arms import Arm
from isograd.fixes.kind import Case, Kind, Proposal, kinds, total_decades
from isograd.fixes.setup import Setup
from isograd.records import Diagnosis, Finding, Snapshot
from isograd.records.fix import Fix, Part

# More are not tried: the findings come with causes first, and so do the fixes.
MOST = 24
# Room among them that the usual fixes leave to the special ones.
_SPECIAL = 8


@dataclass
class Probed:
    """The product before training, on one batch."""

    decades: float | None = None
    spread: float | None = None
    layers: dict[str, float] = field(default_factory=dict)


@dataclass
class Candidate:
    """A fix and what was measured of it.

    Attributes:
        key: Its number.
        fix: The change.
        finding: What it is meant to cure.
        predicted: Decades after it, from theory.
        weight: Cost in complexity.
        partner: True if it was only proposed to go with others.
        probed: The product with it.
        first: The training on the seed that fixes are chosen by.
        arms: Trainings on fresh seeds, by seed.
        remaining: Alarms of a check of the fixed copy, as (severity, code).
        reason: Why it failed.
    """

    key: int
    fix: Fix
    finding: Finding
    predicted: float | None = None
    weight: float = 1.0
    partner: bool = False
    probed: Probed | None = None
    first: Arm | None = None
    arms: dict[int, Arm] = field(default_factory=dict)
    remaining: tuple[tuple[str, str], ...] | None = None
    reason: str = ""

    @property
    def meaning(self) -> int | None:
        """The key by which others measure the loss in this fix's meaning; None if unchanged."""
        return self.key if self.fix.redefines else None


def gathered(setup: Setup, diagnosis: Diagnosis) -> list[Candidate]:
    """Candidates for all alarms, causes first, no two alike."""
    found: list[Candidate] = []
    seen: set[str] = set()
    alarms = [finding for finding in diagnosis.findings if finding.alarm]
    for stage in ("usual", "special", "partner"):
        partners = stage == "partner"
        room = {"usual": MOST - _SPECIAL, "special": MOST, "partner": 2 * MOST}[stage]
        for finding in alarms if not partners else alarms[:1]:
            for kind, proposal in _proposed(Case(setup, diagnosis, finding), stage):
                key = f"{kind.name} {sorted(proposal.parameters.items(), key=str)}"
                if key in seen or len(found) >= room:
                    continue
                seen.add(key)
                found.append(
                    Candidate(
                        len(found),
                        kind.fix(proposal),
                        finding,
                        proposal.predicted,
                        proposal.weight,
                        partners,
                    )
                )
    return found


def _proposed(case: Case, stage: str) -> Iterator[tuple[Kind, Proposal]]:
    for kind in kinds().values():
        cures = case.finding.code in kind.cures or case.finding.cause in kind.cures
        if kind.partner if stage == "partner" else cures and kind.special == (stage == "special"):
            for proposal in kind.proposals(case):
                yield kind, proposal


def combined(key: int, first: Candidate, second: Candidate) -> Candidate:
    """Both fixes, one after the other."""
    parts = tuple(p for c in (first, second) for p in (c.fix.parts or (c.fix,)))
    order: tuple[Part, ...] = ("optimizer", "model", "step")
    part = order[max(order.index(p.part) for p in parts)]
    fix = Fix(
        "combination",
        " + ".join(p.title for p in parts),
        {},
        part,
        " ".join(p.undo for p in parts if p.undo),
        "; ".join(dict.fromkeys(p.reference for p in parts if p.reference)),
        "\n".join(p.snippet for p in parts if p.snippet),
        any(p.redefines for p in parts),
        parts,
    )
    return Candidate(key, fix, first.finding, None, first.weight + second.weight)


def measured(snapshot: Snapshot) -> Probed:
    """The product on one batch."""
    speeds = [s.per_sample_rms for s in snapshot.layers if math.isfinite(s.per_sample_rms)]
    spread = max(speeds) / min(speeds) if speeds and min(speeds) > 0 else None
    by_module = snapshot.decades(by="module")
    layers = {name: value for name, value in by_module.items() if math.isfinite(value)}
    return Probed(total_decades(snapshot), _finite(spread), layers)


def _finite(value: float | None) -> float | None:
    """The value, or None if it is none or not finite."""
    return value if value is not None and math.isfinite(value) else None
