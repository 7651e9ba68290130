"""From findings to fixes that are proven.

1. Candidates: every fix of the catalogue that may cure an alarm.
2. Screening: each is carried out on a copy, the same batch is measured again and the copy trained,
   all on one seed. Where none helps, fixes for neighbouring causes follow. The best are combined,
   greedily, up to three.
3. Proof: the best few train on fresh seeds beside no change and random changes, and the fixed copy
   is checked again. Where the first seeds leave it open, as many follow once more.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from isograd.capture.probe import probe
from isograd.fixes import arms, draws, verdict
from isograd.fixes.arms import Arm
from isograd.fixes.candidates import Candidate, Probed, combined, gathered, measured, neighbouring
from isograd.fixes.control import random_change
from isograd.fixes.kind import carried_out
from isograd.fixes.plan import FEWEST, FINALISTS, SCREENED, SCREENED_NEAR, Plan
from isograd.fixes.ranking import judged, ranked
from isograd.fixes.rewind import Rewind
from isograd.fixes.setup import Setup
from isograd.fixes.workers import Backend, Outcome, best_backend, outcomes
from isograd.records import Diagnosis
from isograd.records.fix import Fix, Part, Trial

# Alarms of a training, as (severity, code).
Check = Callable[[Setup], tuple[tuple[str, str], ...]]
Progress = Callable[[str, int, int], object]

_SCREEN = 1000
_FRESH = 2000
_PARTNERS = 6
_PARTS = 3
# A part must improve the relative difference by this to be added: the loss falls by 10 %.
_ADDS = 0.05
# If no fix does that on the first seed, neighbours of the causes are tried: 18 % off the loss.
_HELPS = 0.1


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
        self.backend: Backend = options.backend or best_backend(setup.model)
        self.plan = Plan(options.time_limit)
        self.candidates = gathered(setup, diagnosis)
        self.redraws = draws.redrawable(setup)
        self.unchanged: dict[int, Arm] = {}
        self.randoms: dict[tuple[Part, int], Arm] = {}
        self.interrupted = False
        self._keys = itertools.count(10_000)

    def run(self) -> None:
        """All stages."""
        if not self.candidates:
            self.candidates = neighbouring(self.setup, self.diagnosis, ())
        if not self.candidates:
            return
        # Torch imports much of itself for the first optimizer: here, not in each process.
        self.setup.copied()
        alone = [c for c in self.candidates if not c.partner]
        self._begin(len(alone))
        self._screen(alone, self.plan.after(SCREENED))
        if max(map(self.merit, self.candidates)) < _HELPS:
            near = neighbouring(self.setup, self.diagnosis, self.candidates)
            self.candidates += near
            self._screen(near, self.plan.after(SCREENED_NEAR))
        self._combine()
        # Partners that stand in no combination were never meant to stand alone.
        self.candidates = [c for c in self.candidates if not c.partner]
        self._prove()

    def _begin(self, alone: int) -> None:
        """Short trainings as it stands, which tell how many steps there is time for."""
        if self.options.steps is not None:
            self.plan.steps = self.options.steps
            return
        started, jobs = time.monotonic(), self._jobs()
        calls = [lambda: self._arm(None, _SCREEN, FEWEST, {})] * jobs
        few = self._map("timing", calls)
        if self.options.backend is None and self.backend == "process" and few[0].reason:
            # A fork of this process does not get far: threads of the user's step, perhaps.
            self.backend, jobs, started = "serial", 1, time.monotonic()
            few = self._map("timing", calls[:1])
        elapsed = time.monotonic() - started
        training = few[0].value.lasted if not few[0].reason else elapsed
        self.plan.timed(elapsed, jobs, training, FEWEST)
        seeds = self.options.seeds
        self.plan.choose_steps(1 + 1.2 * alone + _PARTNERS + 2 * (seeds + 1.5) + 2 * seeds)

    def _screen(self, some: Sequence[Candidate], deadline: float) -> None:
        """The training as it stands, unless that is known, and with each fix."""
        keyed = {c.key: c.fix for c in self.candidates if c.fix.redefines}
        keyed |= {c.key: c.fix for c in some if c.fix.redefines}
        known = self.unchanged.get(_SCREEN)
        missing = known is None or not keyed.keys() <= known.redefined.keys()
        calls: list[Callable[[], Any]] = []
        if missing:
            calls.append(lambda: self._arm(None, _SCREEN, self.plan.steps, keyed))
        calls += [functools.partial(self._screened, c) for c in some]

        def took(position: int, outcome: Outcome) -> None:
            if missing and position == 0:
                if not outcome.reason:
                    self.unchanged[_SCREEN] = outcome.value
                return
            candidate = some[position - missing]
            if outcome.reason:
                candidate.reason = outcome.reason
            else:
                candidate.probed, candidate.first = outcome.value

        self._map("screening", calls, took, deadline=deadline, learns=True)

    def _screened(self, candidate: Candidate) -> tuple[Probed, Arm]:
        copied = carried_out(candidate.fix, self.setup.copied())
        try:
            probed = measured(probe(copied.model, copied.step))
        except Exception:  # what cannot be measured can still be trained
            probed = Probed()
        self.rewind.restore()
        return probed, self._arm(candidate.fix, _SCREEN, self.plan.steps, {})

    def _combine(self) -> None:
        """Add the fix that helps most to the best one, while it helps."""
        best = max(
            (c for c in self.candidates if c.first is not None and self.merit(c) > 0),
            key=self.merit,
            default=None,
        )
        pool = [c for c in self.candidates if c.partner or (c is not best and self.merit(c) > 0)]
        for _ in range(_PARTS - 1):
            if best is None:
                return
            reserve = self.plan.proof(2, self.options.seeds, 1)
            room = int((self.plan.left - reserve) / max(self.plan.arm, 1e-9))
            names = {p.name for p in best.fix.parts or (best.fix,)}
            others = [c for c in pool if c.fix.name not in names]
            partners = [c for c in others if c.partner]
            others = sorted((c for c in others if not c.partner), key=self.merit, reverse=True)
            chosen = others[: max(2, _PARTNERS - len(partners))] + partners
            # Keys are never used twice: trainings without a change know their readings by them.
            made = [combined(next(self._keys), best, c) for c in chosen[: max(0, room)]]
            if not made:
                return
            self._screen(made, self.plan.deadline - reserve)
            better = max(made, key=self.merit)
            if self.merit(better) - self.merit(best) < _ADDS * (1 - abs(self.merit(best))):
                return
            self.candidates.append(better)
            best = better

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
        hopeful = [c for c in self.candidates if self.merit(c) > verdict.LEAST]
        hopeful.sort(key=self.merit, reverse=True)
        seeds = self.options.seeds
        finalists = _varied(hopeful, self._finalists(len(hopeful)))
        self._fresh(finalists, range(seeds), checked=True)
        undecided = [c for c in finalists if judged(c, self.unchanged, self.randoms).undecided]
        if undecided:
            self._fresh(undecided, range(seeds, 2 * seeds), checked=False)

    def _finalists(self, hopeful: int) -> int:
        if self.options.steps is not None:  # these are the user's, not to be cut
            return min(hopeful, FINALISTS)
        return self.plan.finalists(hopeful, self.options.seeds)

    def _fresh(self, finalists: Sequence[Candidate], fresh: range, checked: bool) -> None:
        """Train on fresh seeds, the best fix's trainings first: time may be up in between."""
        keyed = {c.key: c.fix for c in finalists if c.fix.redefines}
        seeds = [_FRESH + i for i in fresh]
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
                self.randoms[which, seed] = outcome.value
            else:
                self.unchanged[seed] = outcome.value

        self._map("proof", [functools.partial(self._proving, keyed, *p) for p in plan], took)

    def _proving(self, keyed: dict[int, Fix], what: str, which: Any, seed: int) -> Any:
        if what == "check":
            return self.check(carried_out(which.fix, self._optimized()))
        change = random_change(which, seed) if what == "random" else None
        fix = which.fix if what == "fixed" else None
        keyed = {} if what == "fixed" else keyed
        return self._arm(fix, seed, self.plan.steps, keyed, change)

    def _optimized(self) -> Setup:
        """A copy; without an optimizer where the user gave none, so that a check looks once."""
        copied = self.setup.copied()
        if self.setup.optimizer is None:
            copied.optimizer = None
        return copied

    def _arm(
        self,
        fix: Fix | None,
        seed: int,
        steps: int,
        keyed: dict[int, Fix],
        change: arms.Change | None = None,
    ) -> Arm:
        if fix is not None:
            change = functools.partial(carried_out, fix)
        redraw = self.redraws and seed >= _FRESH
        return arms.run(self.setup, change, seed, steps, keyed, redraw=redraw)

    def _jobs(self) -> int:
        """Trainings at a time."""
        return self.options.jobs if self.backend == "process" else 1

    def _map(
        self,
        stage: str,
        calls: Sequence[Callable[[], Any]],
        took: Callable[[int, Outcome], None] = lambda *_: None,
        *,
        deadline: float | None = None,
        learns: bool = False,
    ) -> list[Outcome]:
        got: dict[int, Outcome] = {}
        self.options.progress(stage, 0, len(calls))
        began = time.monotonic()
        for outcome in outcomes(
            calls,
            jobs=self.options.jobs,
            backend=self.backend,
            limit=self.plan.each,
            deadline=min(deadline or self.plan.deadline, self.plan.deadline),
            rewind=self.rewind,
        ):
            got[outcome.index] = outcome
            took(outcome.index, outcome)
            self.options.progress(stage, len(got), len(calls))
        if learns:
            whole = sum(not outcome.late for outcome in got.values())
            self.plan.took(time.monotonic() - began, whole)
        return [got[i] for i in range(len(calls))]


def _varied(hopeful: Sequence[Candidate], most: int) -> list[Candidate]:
    """The best few; more than two versions of one fix only if there is room."""
    chosen: list[Candidate] = []
    for same in (2, most):
        for candidate in hopeful:
            alike = sum(c.fix.name == candidate.fix.name for c in chosen)
            if candidate not in chosen and alike < same and len(chosen) < most:
                chosen.append(candidate)
    return chosen
