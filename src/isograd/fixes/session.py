"""What all stages of a search for fixes share: the training, its trials so far, and the means."""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from isograd.fixes import arms, draws, verdict
from isograd.fixes.arms import Arm
from isograd.fixes.candidates import Candidate, gathered, settings_changed
from isograd.fixes.kind import carried_out
from isograd.fixes.plan import Plan
from isograd.fixes.rewind import Rewind
from isograd.fixes.setup import Setup
from isograd.fixes.workers import Backend, Outcome, best_backend, outcomes
from isograd.records import Diagnosis
from isograd.records.fix import Fix, Part

# Alarms of a training, as (severity, code).
Check = Callable[[Setup], tuple[tuple[str, str], ...]]
Progress = Callable[[str, int, int], object]

# The seed that fixes are chosen by, and the first of those that prove them.
SCREEN, FRESH = 1000, 2000


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


class Session:
    """A search for fixes.

    Attributes:
        setup: The user's training; stays as it is.
        diagnosis: Of it.
        check: Alarms of a changed copy.
        options: How.
        candidates: Fixes with what is known of them.
        unchanged: Trainings as it stands, by seed.
        randoms: Trainings with a random change, by its part and the seed.
    """

    def __init__(self, setup: Setup, diagnosis: Diagnosis, check: Check, options: Options) -> None:
        self.setup, self.diagnosis, self.check, self.options = setup, diagnosis, check, options
        self.rewind = Rewind(setup.step, setup.train_step)
        self.backend: Backend = options.backend or best_backend(setup.model)
        self.plan = Plan(options.time_limit)
        self.candidates = gathered(setup, diagnosis)
        self.redraws = draws.redrawable(setup)
        self.unchanged: dict[int, Arm] = {}
        self.randoms: dict[tuple[Part, int], Arm] = {}
        self.keys = itertools.count(10_000)
        self._set: dict[str, frozenset[str]] = {}

    def settings(self, fix: Fix) -> frozenset[str]:
        """Settings of the optimizer that a fix changes: two that set one thing do not add up."""
        key = repr((fix.name, fix.parameters, [(p.name, p.parameters) for p in fix.parts]))
        if key not in self._set:
            self._set[key] = settings_changed(fix, self.setup)
            self.rewind.restore()
        return self._set[key]

    def merit(self, candidate: Candidate) -> float:
        """Relative difference to no change on the first seed; -1 if there is none.

        Where the training breaks as it stands any fix that does not is infinitely better, which
        says nothing of which is best: then the difference is to the loss before training.
        """
        base = self.unchanged.get(SCREEN)
        if candidate.first is None or base is None:
            return -1.0
        meaning = candidate.meaning
        if meaning is not None and meaning not in base.redefined:
            return -1.0
        without, score = verdict.readings([base], meaning, own=False)[0]
        fixed, better = verdict.readings([candidate.first], meaning, own=True)[0]
        if meaning is not None and score is not None and better is not None and better <= score:
            return -1.0  # another loss that does not answer better will not be proven
        if not math.isfinite(without):
            without = base.start if meaning is None else candidate.first.own_start[0]
        return verdict.relative(without, fixed)

    def order(self, candidate: Candidate) -> tuple[float, float]:
        """To sort by: the merit, and the loss where the relative difference is at its bound."""
        first = candidate.first
        if first is None:
            return -1.0, -math.inf
        own = candidate.meaning is not None
        return self.merit(candidate), -(first.own[0] if own else first.loss)

    def arm(
        self,
        fix: Fix | None,
        seed: int,
        steps: int,
        keyed: dict[int, Fix],
        change: arms.Change | None = None,
    ) -> Arm:
        """One training of a copy, as `arms.run` does it; with a fix or another change."""
        if fix is not None:
            change = functools.partial(carried_out, fix)
        redraw = self.redraws and seed >= FRESH
        return arms.run(self.setup, change, seed, steps, keyed, redraw=redraw)

    def jobs(self) -> int:
        """Trainings at a time."""
        return self.options.jobs if self.backend == "process" else 1

    def map(
        self,
        stage: str,
        calls: Sequence[Callable[[], Any]],
        took: Callable[[int, Outcome], None] = lambda *_: None,
        *,
        deadline: float | None = None,
        learns: bool = False,
        extra: float = 0.0,
    ) -> list[Outcome]:
        """Outcomes of calls, in their order; `took` is told each as it comes in.

        After `deadline` none begins; those that run may end, as there is a time for all. `extra`
        seconds are given from now on, whatever that time is.
        """
        got: dict[int, Outcome] = {}
        self.options.progress(stage, 0, len(calls))
        began = time.monotonic()
        for outcome in outcomes(
            calls,
            jobs=self.options.jobs,
            backend=self.backend,
            limit=self.plan.each,
            deadline=max(self.plan.deadline, began + extra),
            rewind=self.rewind,
            begin=max(deadline or self.plan.deadline, began + extra),
        ):
            got[outcome.index] = outcome
            took(outcome.index, outcome)
            self.options.progress(stage, len(got), len(calls))
        if learns:
            whole = sum(not outcome.late for outcome in got.values())
            self.plan.took(time.monotonic() - began, whole)
        return [got[i] for i in range(len(calls))]
