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
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from isograd.capture.probe import probe
from isograd.fixes.arms import Arm
from isograd.fixes.candidates import Candidate, Probed, combined, measured, neighbouring
from isograd.fixes.kind import carried_out
from isograd.fixes.plan import FEWEST, SCREENED, SCREENED_NEAR
from isograd.fixes.proof import prove
from isograd.fixes.ranking import ranked
from isograd.fixes.rates import is_meant, is_rate, rate_times, rises
from isograd.fixes.session import SCREEN, Check, Session
from isograd.fixes.session import Options as Options
from isograd.fixes.setup import Setup
from isograd.fixes.workers import Outcome
from isograd.records import Diagnosis
from isograd.records.fix import Trial

_PARTNERS = 6
# Rounds of rates beside the best one.
_REFINED = 2
_LEADING = 3
_PARTS = 3
# A part must improve the relative difference by this to be added: the loss falls by 18 %. What
# helps less is not worth its risk: a higher rate that is unstable shows it after the trial.
_ADDS = 0.1
# Unless nearly all answers are right and the loss is less than half.
_SOLVED, _HALVED = 0.98, 1 / 3
# If no fix does that on the first seed, neighbours of the causes are tried.
_HELPS = 0.1


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
    session = _Search(setup, diagnosis, check, options)
    interrupted = False
    try:
        session.run()
    except KeyboardInterrupt:
        interrupted = True
    finally:
        session.rewind.restore()
    return ranked(session.candidates, session.unchanged, session.randoms, diagnosis, interrupted)


class _Search(Session):
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
        self._refine()
        self._combine()
        # Partners that stand in no combination were never meant to stand alone.
        self.candidates = [c for c in self.candidates if not c.partner]
        prove(self)

    def _begin(self, alone: int) -> None:
        """Short trainings as it stands, which tell how many steps there is time for."""
        if self.options.steps is not None:
            self.plan.steps = self.options.steps
            return
        started, jobs = time.monotonic(), self.jobs()
        calls = [lambda: self.arm(None, SCREEN, FEWEST, {})] * jobs
        few = self.map("timing", calls)
        if self.options.backend is None and self.backend == "process" and few[0].reason:
            # A fork of this process does not get far: threads of the user's step, perhaps.
            self.backend, jobs, started = "serial", 1, time.monotonic()
            few = self.map("timing", calls[:1])
        elapsed = time.monotonic() - started
        training = few[0].value.lasted if not few[0].reason else elapsed
        self.plan.timed(elapsed, jobs, training, FEWEST)
        seeds = self.options.seeds
        self.plan.choose_steps(1 + 1.2 * alone + _PARTNERS + 2 * (seeds + 1.5) + 2 * seeds)

    def _screen(self, some: Sequence[Candidate], deadline: float) -> None:
        """The training as it stands, unless that is known, and with each fix."""
        keyed = {c.key: c.fix for c in self.candidates if c.fix.redefines}
        keyed |= {c.key: c.fix for c in some if c.fix.redefines}
        known = self.unchanged.get(SCREEN)
        missing = known is None or not keyed.keys() <= known.redefined.keys()
        calls: list[Callable[[], Any]] = []
        if missing:
            calls.append(lambda: self.arm(None, SCREEN, self.plan.steps, keyed))
        calls += [functools.partial(self._screened, c) for c in some]

        def took(position: int, outcome: Outcome) -> None:
            if missing and position == 0:
                if not outcome.reason:
                    self.unchanged[SCREEN] = outcome.value
                return
            candidate = some[position - missing]
            if outcome.reason:
                candidate.reason = outcome.reason
            else:
                candidate.probed, candidate.first = outcome.value

        self.map("screening", calls, took, deadline=deadline, learns=True)

    def _screened(self, candidate: Candidate) -> tuple[Probed, Arm]:
        copied = carried_out(candidate.fix, self.setup.copied())
        try:
            probed = measured(probe(copied.model, copied.step))
        except Exception:  # what cannot be measured can still be trained
            probed = Probed()
        self.rewind.restore()
        return probed, self.arm(candidate.fix, SCREEN, self.plan.steps, {})

    def _refine(self) -> None:
        """Where a rate is among the best, those beside it: they are far apart at first.

        Only where the rate is what is to be cured: what a higher one gains elsewhere is speed.
        """
        for _ in range(_REFINED):
            first = sorted(self.candidates, key=self.order, reverse=True)[:_LEADING]
            best = next((c for c in first if is_rate(c.fix) and is_meant(c)), None)
            if best is None or self.merit(best) <= 0:
                return
            known = {c.fix.parameters["factor"] for c in self.candidates if is_rate(c.fix)}
            near = [
                c
                for factor in (best.fix.parameters["factor"] * f for f in (3.0, 1 / 3))
                if not any(0.6 < factor / f < 1.6 for f in known)
                for c in rate_times(self.setup, best, factor, next(self.keys))
            ]
            if not near:
                return
            self.candidates += near
            self._screen(near, self.plan.after(SCREENED_NEAR))

    def _combine(self) -> None:
        """Add the fix that helps most to the best one, while it helps."""
        best = max(
            (c for c in self.candidates if c.first is not None and self.merit(c) > 0),
            key=self.order,
            default=None,
        )
        pool = [
            c
            for c in self.candidates
            if c.partner or (c is not best and (self.merit(c) > 0 or self._may_help(c)))
        ]
        for _ in range(_PARTS - 1):
            if best is None or self._solves(best):
                return
            reserve = self.plan.proof(2, self.options.seeds, 1)
            room = int((self.plan.left - reserve) / max(self.plan.arm, 1e-9))
            names = {p.name for p in best.fix.parts or (best.fix,)}
            taken = self.settings(best.fix)
            others = [
                c for c in pool if c.fix.name not in names and not taken & self.settings(c.fix)
            ]
            partners = [c for c in others if c.partner]
            others = sorted((c for c in others if not c.partner), key=self.order, reverse=True)
            chosen = others[: max(2, _PARTNERS - len(partners))] + partners
            # Keys are never used twice: trainings without a change know their readings by them.
            made = [combined(next(self.keys), best, c) for c in chosen[: max(0, room)]]
            if not made:
                return
            self._screen(made, self.plan.deadline - reserve)
            # A rise of the rate helps in any short training: it waits until nothing else helps.
            plain = [c for c in made if not any(map(rises, c.fix.parts))] or made
            better = max(plain, key=self.order)
            if not self._adds(better, best):
                better = max(made, key=self.order)
            if not self._adds(better, best):
                return
            self.candidates.append(better)
            best = better

    def _solves(self, candidate: Candidate) -> bool:
        """True if nearly all answers are right: what is left is better spent on the proof."""
        assert candidate.first is not None
        first = candidate.first
        score = first.own[1] if candidate.meaning is not None else first.score
        return score is not None and score >= _SOLVED and self.merit(candidate) > _HALVED

    def _may_help(self, candidate: Candidate) -> bool:
        """True for what breaks on its own, as all does at this rate: it may be good at another."""
        base, first = self.unchanged.get(SCREEN), candidate.first
        if base is None or first is None or is_rate(candidate.fix):
            return False
        return not math.isfinite(base.loss) and not math.isfinite(first.loss)

    def _adds(self, better: Candidate, best: Candidate) -> bool:
        """True if a combination is worth its risk."""
        merit = self.merit(best)
        return self.merit(better) - merit >= _ADDS * (1 - abs(merit))
