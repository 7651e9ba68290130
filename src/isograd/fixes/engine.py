"""From findings to fixes that are proven.

1. Candidates: every fix of the catalogue that may cure an alarm.
2. Screening: each is carried out on a copy, the same batch is measured again and the copy trained,
   all on one seed. The best are combined, greedily, up to three.
3. Proof: the best few train on fresh seeds beside no change and random changes, and the fixed copy
   is checked again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from isograd.capture.probe import probe
from isograd.fixes import arms, verdict
from isograd.fixes.arms import Arm
from isograd.fixes.candidates import Candidate, Probed, combined, gathered, measured
from isograd.fixes.control import random_change
from isograd.fixes.kind import carried_out
from isograd.fixes.ranking import ranked
from isograd.fixes.rewind import Rewind
from isograd.fixes.setup import Setup
from isograd.fixes.workers import Backend, Outcome, best_backend, outcomes
from isograd.records import Diagnosis
from isograd.records.fix import Fix, Part, Trial

# Alarms of a training, as (severity, code).
Check = Callable[[Setup], tuple[tuple[str, str], ...]]
Progress = Callable[[str, int, int], object]

STEPS = 200
_FEWEST = 30
_SCREEN = 1000
_FRESH = 2000
_FINALISTS = 4
_PARTNERS = 6
_PARTS = 3
# A part must improve the relative difference by this to be added: the loss falls by 10 %.
_ADDS = 0.05
# Share of the time limit that the planned trainings may fill.
_PLANNED = 0.5
# Trainings that are planned for when steps are chosen: candidates, combinations and proof.
_ARMS = 40


@dataclass(frozen=True)
class Options:
    """How to try.

    Attributes:
        steps: Training steps per trial; None for up to 200, as many as the time allows.
        seeds: Fresh seeds for the proof.
        time_limit: Seconds for everything.
        jobs: Processes at a time.
        backend: `process`, `serial`, or None for what fits.
        progress: Told the stage, how much is done and how much there is.
    """

    steps: int | None = None
    seeds: int = 3
    time_limit: float = 60.0
    jobs: int = 2
    backend: Backend | None = None
    progress: Progress = field(default=lambda *_: None)


def tried(setup: Setup, diagnosis: Diagnosis, check: Check, options: Options) -> list[Trial]:
    """Try fixes for the alarms of a diagnosis.

    Args:
        setup: The user's training; stays as it is.
        diagnosis: Of it.
        check: Alarms of a changed copy.
        options: How.

    Returns:
        Trials, the best first. If the time is up, or the user interrupts, those known so far.
    """
    session = _Session(setup, diagnosis, check, options)
    try:
        session.run()
    except KeyboardInterrupt:
        session.interrupted = True
    finally:
        session.rewind.restore()
    return ranked(
        session.candidates, session.unchanged, session.randoms, diagnosis, session.interrupted
    )


class _Session:
    def __init__(self, setup: Setup, diagnosis: Diagnosis, check: Check, options: Options) -> None:
        self.setup, self.diagnosis, self.check, self.options = setup, diagnosis, check, options
        self.rewind = Rewind(setup.step, setup.train_step)
        self.backend = options.backend or best_backend(setup.model)
        self.deadline = time.monotonic() + options.time_limit
        self.limit = options.time_limit / 3
        self.candidates = gathered(setup, diagnosis)
        self.unchanged: dict[int, Arm] = {}
        self.randoms: dict[tuple[Part, int], Arm] = {}
        self.interrupted = False
        self.steps = options.steps or STEPS

    def run(self) -> None:
        """All stages."""
        if not self.candidates:
            return
        self._begin()
        self._screen([c for c in self.candidates if not c.partner])
        self._combine()
        self._prove()
        # Partners that stand in no combination were never meant to stand alone.
        self.candidates = [c for c in self.candidates if not c.partner]

    def _begin(self) -> None:
        """The training as it stands, which also tells how many steps there is time for."""
        keyed = {c.key: c.fix for c in self.candidates if c.fix.redefines}
        if self.options.steps is None:
            started = time.monotonic()
            few = self._map("timing", [lambda: self._arm(None, _SCREEN, _FEWEST, {})])[0]
            taken = few.value.seconds if not few.reason else 0.0
            fixed_cost = max(0.0, time.monotonic() - started - taken * _FEWEST)
            per_arm = self.options.time_limit * _PLANNED * self._jobs() / _ARMS
            fitting = (per_arm - min(fixed_cost, per_arm / 2)) / max(taken, 1e-6)
            self.steps = int(min(STEPS, max(_FEWEST, fitting)))
        first = self._map("as it is", [lambda: self._arm(None, _SCREEN, self.steps, keyed)])[0]
        if not first.reason:
            self.unchanged[_SCREEN] = first.value

    def _screen(self, some: Sequence[Candidate]) -> None:
        def call(candidate: Candidate) -> Callable[[], Any]:
            return lambda: self._screened(candidate)

        got = self._map("screening", [call(c) for c in some])
        for candidate, outcome in zip(some, got, strict=True):
            if outcome.reason:
                candidate.reason = outcome.reason
            else:
                candidate.probed, candidate.first = outcome.value

    def _screened(self, candidate: Candidate) -> tuple[Probed, Arm]:
        copied = carried_out(candidate.fix, self.setup.copied())
        try:
            probed = measured(probe(copied.model, copied.step))
        except Exception:  # what cannot be measured can still be trained
            probed = Probed()
        self.rewind.restore()
        return probed, self._arm(candidate.fix, _SCREEN, self.steps, {})

    def _combine(self) -> None:
        """Add the fix that helps most to the best one, while it helps."""
        best = self._best()
        pool = [c for c in self.candidates if c.partner or (c is not best and self.merit(c) > 0)]
        for _ in range(_PARTS - 1):
            if best is None or time.monotonic() > self.deadline:
                return
            names = {p.name for p in best.fix.parts or (best.fix,)}
            others = [c for c in pool if c.fix.name not in names]
            others.sort(key=lambda c: (c.partner, -self.merit(c)))
            partners = [c for c in others if c.partner]
            others = [c for c in others if not c.partner][: max(2, _PARTNERS - len(partners))]
            others += partners
            made = [
                combined(len(self.candidates) + i, best, other) for i, other in enumerate(others)
            ]
            if not made:
                return
            redefining = {c.key: c.fix for c in made if c.fix.redefines}
            if redefining:
                again = self._map(
                    "as it is", [lambda r=redefining: self._arm(None, _SCREEN, self.steps, r)]
                )[0]
                if again.reason:
                    return
                self.unchanged[_SCREEN].redefined.update(again.value.redefined)
            self._screen(made)
            better = max(made, key=self.merit)
            if self.merit(better) - self.merit(best) < _ADDS * (1 - abs(self.merit(best))):
                return
            self.candidates.append(better)
            best = better

    def _best(self) -> Candidate | None:
        alone = [c for c in self.candidates if c.first is not None and self.merit(c) > 0]
        return max(alone, key=self.merit, default=None)

    def merit(self, candidate: Candidate) -> float:
        """Relative difference to no change on the first seed; -1 if there is none."""
        base = self.unchanged.get(_SCREEN)
        if candidate.first is None or base is None:
            return -1.0
        meaning = candidate.meaning
        if meaning is not None and meaning not in base.redefined:
            return -1.0
        without = verdict.readings([base], meaning, own=False)[0]
        fixed = verdict.readings([candidate.first], meaning, own=True)[0]
        return verdict.relative(without[0], fixed[0])

    def _prove(self) -> None:
        hopeful = [c for c in self.candidates if not c.partner and self.merit(c) > _ADDS / 2]
        hopeful.sort(key=self.merit, reverse=True)
        finalists = _varied(hopeful)
        seeds = [_FRESH + i for i in range(self.options.seeds)]
        keyed = {c.key: c.fix for c in finalists if c.fix.redefines}
        parts = list(dict.fromkeys(c.fix.part for c in finalists))
        plan: list[tuple[str, Any, int]] = [("check", c, 0) for c in finalists]
        for seed in seeds:
            plan.append(("unchanged", None, seed))
            plan += [("fixed", c, seed) for c in finalists]
            plan += [("random", part, seed) for part in parts]
        if not finalists:
            return

        def call(what: str, which: Any, seed: int) -> Callable[[], Any]:
            if what == "check":
                return lambda: self.check(carried_out(which.fix, self._optimized()))
            if what == "fixed":
                return lambda: self._arm(which.fix, seed, self.steps, {})
            if what == "random":
                return lambda: arms.run(
                    self.setup, random_change(which, seed), seed, self.steps, keyed
                )
            return lambda: self._arm(None, seed, self.steps, keyed)

        def took(position: int, outcome: Outcome) -> None:
            what, which, seed = plan[position]
            if what == "check":
                which.remaining = None if outcome.reason else outcome.value
                which.reason = f"the fixed copy cannot be checked: {outcome.reason}" * bool(
                    outcome.reason
                )
            elif outcome.reason:
                if what == "fixed":
                    which.reason = outcome.reason
            elif what == "fixed":
                which.arms[seed] = outcome.value
            elif what == "random":
                self.randoms[which, seed] = outcome.value
            else:
                self.unchanged[seed] = outcome.value

        self._map("proof", [call(*item) for item in plan], took)

    def _optimized(self) -> Setup:
        """A copy; without an optimizer where the user gave none, so that a check looks once."""
        copied = self.setup.copied()
        if self.setup.optimizer is None:
            copied.optimizer = None
        return copied

    def _arm(self, fix: Fix | None, seed: int, steps: int, keyed: dict[int, Fix]) -> Arm:
        change = None if fix is None else (lambda setup: carried_out(fix, setup))
        return arms.run(self.setup, change, seed, steps, keyed)

    def _jobs(self) -> int:
        return self.options.jobs if self.backend == "process" else 1

    def _map(
        self,
        stage: str,
        calls: Sequence[Callable[[], Any]],
        took: Callable[[int, Outcome], None] = lambda *_: None,
    ) -> list[Outcome]:
        got: dict[int, Outcome] = {}
        self.options.progress(stage, 0, len(calls))
        for outcome in outcomes(
            calls,
            jobs=self.options.jobs,
            backend=self.backend,
            limit=self.limit,
            deadline=self.deadline,
            rewind=self.rewind,
        ):
            got[outcome.index] = outcome
            took(outcome.index, outcome)
            self.options.progress(stage, len(got), len(calls))
        return [got[i] for i in range(len(calls))]


def _varied(hopeful: Sequence[Candidate]) -> list[Candidate]:
    """The best few; no more than two versions of one fix."""
    chosen: list[Candidate] = []
    for candidate in hopeful:
        same = sum(c.fix.name == candidate.fix.name for c in chosen)
        if same < 2 and len(chosen) < _FINALISTS:
            chosen.append(candidate)
    return chosen
