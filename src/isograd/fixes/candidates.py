"""Which fixes are worth a trial, and what is known of each so far."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from isograd.fixes.arms import Arm
from isograd.fixes.kind import Case, Kind, carried_out, kinds, total_decades
from isograd.fixes.neighbours import NEIGHBOURS
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
        longer: A longer training on one fresh seed, of what is proven.
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
    longer: Arm | None = None
    remaining: tuple[tuple[str, str], ...] | None = None
    reason: str = ""

    @property
    def meaning(self) -> int | None:
        """The key by which others measure the loss in this fix's meaning; None if unchanged."""
        return self.key if self.fix.redefines else None


def gathered(setup: Setup, diagnosis: Diagnosis) -> list[Candidate]:
    """Candidates for all alarms, causes first, no two alike, and their partners."""
    alarms = [finding for finding in diagnosis.findings if finding.alarm]
    found: list[Candidate] = []
    for special in (False, True):
        for finding in alarms:
            causes = {finding.code, finding.cause}

            def fits(kind: Kind, causes: set[str] = causes, special: bool = special) -> bool:
                return bool(kind.cures & causes) and kind.special == special

            case = Case(setup, diagnosis, finding)
            _add(found, case, fits, MOST if special else MOST - _SPECIAL)
    for finding in alarms[:1]:
        _add(found, Case(setup, diagnosis, finding), lambda kind: kind.partner, partners=True)
    return found


def neighbouring(setup: Setup, diagnosis: Diagnosis, known: Sequence[Candidate]) -> list[Candidate]:
    """Further candidates, for causes that are mistaken for those of the alarms."""
    found = list(known)
    for finding in diagnosis.findings:
        if finding.alarm:
            near = frozenset(NEIGHBOURS.get(finding.cause, ()))
            case = Case(setup, diagnosis, finding)
            _add(found, case, lambda kind, n=near: bool(kind.cures & n), 2 * MOST)
    return found[len(known) :]


def _add(
    found: list[Candidate],
    case: Case,
    fits: Callable[[Kind], bool],
    most: int = MOST,
    partners: bool = False,
) -> None:
    """Append what the fitting fixes propose, unless it is there; up to `most`, partners aside."""
    seen = {_key(c.fix.name, c.fix.parameters) for c in found if not c.partner or partners}
    room = most - sum(not c.partner for c in found)
    for kind in kinds().values():
        if not fits(kind):
            continue
        try:
            proposals = list(kind.proposals(case))
        except Exception as error:  # one fix of many; the others are worth trying
            warnings.warn(f"isograd: the fix {kind.name!r} cannot propose: {error}", stacklevel=2)
            continue
        for proposal in proposals:
            key = _key(kind.name, proposal.parameters)
            if key in seen or (room <= 0 and not partners):
                continue
            seen.add(key)
            room -= 1
            found.append(
                Candidate(
                    len(found),
                    kind.fix(proposal),
                    case.finding,
                    proposal.predicted,
                    proposal.weight,
                    partners,
                )
            )


def _key(name: str, parameters: dict[str, Any]) -> str:
    return f"{name} {sorted(parameters.items(), key=str)}"


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


def names(candidate: Candidate) -> frozenset[str]:
    """What a fix consists of."""
    return frozenset(repr((p.name, p.parameters)) for p in candidate.fix.parts or (candidate.fix,))


def settings_changed(fix: Fix, setup: Setup) -> frozenset[str]:
    """Names of the settings of parameter groups that a fix changes on a copy."""
    copied = setup.copied()
    if copied.optimizer is None:
        return frozenset()

    def settings(optimizer: Any) -> dict[str, list[str]]:
        names = {name for group in optimizer.param_groups for name in group} - {"params"}
        return {n: [repr(g.get(n)) for g in optimizer.param_groups] for n in names}

    before = settings(copied.optimizer)
    try:
        changed = carried_out(fix, copied)
    except Exception:  # it fails in its trial, with its reason
        return frozenset()
    after = settings(changed.optimizer)
    return frozenset(n for n in before if {*before[n]} != {*after.get(n, ())})


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
