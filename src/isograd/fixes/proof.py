"""The proof: the best few fixes on fresh seeds, beside no change and random changes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from isograd.fixes import verdict
from isograd.fixes.candidates import Candidate, names
from isograd.fixes.control import random_change
from isograd.fixes.kind import carried_out
from isograd.fixes.plan import FINALISTS, LONGER
from isograd.fixes.ranking import judged
from isograd.fixes.rates import without_rise
from isograd.fixes.session import FRESH, Session
from isograd.fixes.setup import Setup
from isograd.fixes.workers import Outcome
from isograd.records.fix import Fix, Part

# A check that all else waits for may take this share of the time limit on top of it.
_GRACE = 0.25


def prove(session: Session) -> None:
    """Try the best on fresh seeds, and once more where that leaves it open."""
    hopeful = [c for c in session.candidates if session.merit(c) > verdict.LEAST]
    hopeful.sort(key=session.order, reverse=True)
    seeds = session.options.seeds
    finalists = _plain_too(_varied(hopeful, _finalists(session, len(hopeful))), hopeful)
    if not finalists:
        return
    _fresh(session, finalists, range(seeds), checked=True)
    undecided = [c for c in finalists if judged(c, session.unchanged, session.randoms).undecided]
    if undecided:
        _fresh(session, undecided, range(seeds, 2 * seeds), checked=False)
    _checked(session, finalists)
    _longer(session, finalists)


def _checked(session: Session, finalists: Sequence[Candidate]) -> None:
    """Check the copy with the best fix, where that is all that the time was too short for."""
    good = [c for c in finalists if judged(c, session.unchanged, session.randoms).proven]
    if not good or any(c.remaining is not None or c.reason for c in good):
        return

    def took(_: int, outcome: Outcome) -> None:
        if not outcome.late:
            good[0].remaining, good[0].reason = outcome.value, outcome.reason

    call = functools.partial(_proving, session, {}, "check", good[0], 0)
    session.map("proof", [call], took, extra=_GRACE * session.options.time_limit)


def _longer(session: Session, finalists: Sequence[Candidate]) -> None:
    """Train what is proven for longer, if there are several and there is time for all."""
    good = [c for c in finalists if judged(c, session.unchanged, session.randoms).proven]
    if len(good) < 2 or session.plan.left < 1.2 * LONGER * session.plan.arm * len(good):
        return
    steps = LONGER * session.plan.steps
    calls = [functools.partial(session.arm, c.fix, FRESH, steps, {}) for c in good]

    def took(position: int, outcome: Outcome) -> None:
        if not outcome.reason:
            good[position].longer = outcome.value

    session.map("longer", calls, took)


def _plain_too(chosen: list[Candidate], hopeful: Sequence[Candidate]) -> list[Candidate]:
    """What stands beside a rise of the rate is proven without it too, in place of the last."""
    plain = {less for c in chosen for less in without_rise(c)} - {names(c) for c in chosen}
    missing = [c for c in hopeful if names(c) in plain]
    if not missing:
        return chosen
    return [*chosen[:-1], missing[0]]


def _finalists(session: Session, hopeful: int) -> int:
    if session.options.steps is not None:  # these are the user's, not to be cut
        return min(hopeful, FINALISTS)
    return session.plan.finalists(hopeful, session.options.seeds)


def _fresh(session: Session, finalists: Sequence[Candidate], fresh: range, checked: bool) -> None:
    """Train on fresh seeds, the best fix's trainings first: time may be up in between."""
    keyed = {c.key: c.fix for c in finalists if c.fix.redefines}
    seeds = [FRESH + i for i in fresh]
    plan: list[tuple[str, Any, int]] = [("unchanged", None, seed) for seed in seeds]
    parts: list[Part] = []
    for c in finalists:
        plan += [("fixed", c, seed) for seed in seeds]
        plan += [("check", c, 0)] * checked
        if c.fix.part not in parts:
            parts.append(c.fix.part)
            plan += [("random", c.fix.part, seed) for seed in seeds]

    def took(position: int, outcome: Outcome) -> None:
        what, which, seed = plan[position]
        if what == "check" and outcome.late:
            return
        if what == "check" and outcome.reason:
            which.reason = f"the fixed copy cannot be checked: {outcome.reason}"
        elif what == "check":
            which.remaining = outcome.value
        elif what == "fixed" and outcome.reason and not outcome.late:
            which.reason = outcome.reason
        elif outcome.reason:
            return
        elif what == "fixed":
            which.arms[seed] = outcome.value
        elif what == "random":
            session.randoms[which, seed] = outcome.value
        else:
            session.unchanged[seed] = outcome.value

    session.map("proof", [functools.partial(_proving, session, keyed, *p) for p in plan], took)


def _proving(session: Session, keyed: dict[int, Fix], what: str, which: Any, seed: int) -> Any:
    if what == "check":
        return session.check(carried_out(which.fix, _optimized(session)))
    change = random_change(which, seed) if what == "random" else None
    fix = which.fix if what == "fixed" else None
    keyed = {} if what == "fixed" else keyed
    return session.arm(fix, seed, session.plan.steps, keyed, change)


def _optimized(session: Session) -> Setup:
    """A copy; without an optimizer where the user gave none, so that a check looks once."""
    copied = session.setup.copied()
    if session.setup.optimizer is None:
        copied.optimizer = None
    return copied


def _varied(hopeful: Sequence[Candidate], most: int) -> list[Candidate]:
    """The best few; more than two versions of one fix only if there is room."""
    chosen: list[Candidate] = []
    for same in (2, most):
        for candidate in hopeful:
            alike = sum(c.fix.name == candidate.fix.name for c in chosen)
            if candidate not in chosen and alike < same and len(chosen) < most:
                chosen.append(candidate)
    return chosen
