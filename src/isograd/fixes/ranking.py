"""Trials from candidates, the best first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

from isograd.fixes import verdict
from isograd.fixes.arms import Arm, Reading
from isograd.fixes.candidates import Candidate, Probed, measured, names
from isograd.fixes.rates import without_rise
from isograd.fixes.workers import NO_TIME
from isograd.records import Diagnosis
from isograd.records.fix import Measured, Part, Trial

_ORDER = {"proven": 0, "not judged": 1, "no better": 2, "worse": 3, "failed": 4}
# Losses within this factor, or scores within this distance, are alike: the simpler fix wins. Losses
# of a net that learns well fall by such factors within some steps, and differ so between seeds.
_ALIKE = 2.0
_ALIKE_SCORE = 0.01
# So are answers of the same score where this share of what the best gains is gained: a training
# loss of 0.002 is no better in use than one of 0.02, and likelier to be learnt by heart.
_GAINED = 0.975
# Steps after which nets of this size are usually judged; a longer training that ends higher by this
# relative difference, half as high again, is falling apart.
_USUAL, _UNSTABLE = 150, 0.2
# A loss that counts answers; of others the score is a function of the loss.
_ANSWERS = frozenset(
    "cross_entropy nll_loss binary_cross_entropy binary_cross_entropy_with_logits".split()
)


def ranked(
    candidates: Sequence[Candidate],
    unchanged: Mapping[int, Arm],
    randoms: Mapping[tuple[Part, int], Arm],
    diagnosis: Diagnosis,
    interrupted: bool,
) -> list[Trial]:
    """Judge all candidates and put the best first.

    Proven before unproven; among proven ones those whose copy raises no alarm any more. Behind come
    those that a longer training shows to be unstable, and a rise of the learning rate on top of
    a fix that is proven without it: it is faster in any short training, and learns small data by
    heart. Then by the loss on the worst seed, or after the longer training where the others were
    short, and by simplicity where that is alike.
    """
    made = [
        (c, _trial(c, unchanged, randoms, diagnosis, interrupted))
        for c in candidates
        if not c.partner
    ]
    good = [(c, t) for c, t in made if t.verdict == "proven"]
    # What ranks is a training of about the usual length; a short one is worth less than a longer.
    lasting = all(c.longer is not None and _brief(c) for c, _ in good)

    def reading(candidate: Candidate, trial: Trial) -> Reading:
        if lasting and candidate.longer is not None:
            return verdict.readings([candidate.longer], candidate.meaning, own=True)[0]
        # The worst seed: a fix that is unstable shows it there first.
        return trial.after.high if trial.seeds else trial.after.loss, trial.after.score

    mixed = any(c.fix.redefines for c, _ in good)
    by_score = mixed and all(reading(c, t)[1] is not None for c, t in good)

    def value(candidate: Candidate, trial: Trial) -> float:
        loss, score = reading(candidate, trial)
        if by_score and score is not None:
            return -score
        return loss if math.isfinite(loss) else math.inf

    def alarms(trial: Trial) -> int:
        return len(trial.remaining) if trial.remaining is not None else 99

    proven = {names(c) for c, _ in good}
    counted = any(call.name in _ANSWERS for call in diagnosis.snapshot.losses)

    def rides(candidate: Candidate) -> bool:
        """True for a mere rise of the rate on top of what is proven without it."""
        return any(less in proven for less in without_rise(candidate))

    best: dict[bool, tuple[float, float | None]] = {}
    for alarming in (False, True):
        some = [(c, t) for c, t in good if bool(alarms(t)) == alarming]
        top = min(some, key=lambda item: value(*item), default=None)
        if top is not None:
            scores = [score for c, t in some if (score := reading(c, t)[1]) is not None]
            best[alarming] = value(*top), max(scores, default=None)

    def alike(candidate: Candidate, trial: Trial) -> bool:
        now, (top, highest) = value(candidate, trial), best[bool(alarms(trial))]
        if by_score:
            return now <= top + _ALIKE_SCORE
        if now <= top * _ALIKE if top > 0 else now <= top + abs(top) * (_ALIKE - 1):
            return True
        start, score = trial.after.start, reading(candidate, trial)[1]
        return (
            counted
            and score is not None
            and highest is not None
            and score >= highest - _ALIKE_SCORE
            and start - now >= _GAINED * (start - top)
        )

    def key(item: tuple[Candidate, Trial]) -> tuple[float, ...]:
        candidate, trial = item
        now = value(candidate, trial)
        similar = trial.verdict == "proven" and alike(candidate, trial)
        return (
            _ORDER[trial.verdict],
            bool(alarms(trial)) if trial.verdict == "proven" else 0,
            trial.verdict == "proven" and (rides(candidate) or _unstable(candidate)),
            not similar,
            candidate.weight if similar else 0.0,
            now,
        )

    return [trial for _, trial in sorted(made, key=key)]


def _brief(candidate: Candidate) -> bool:
    return any(len(arm.curve) < _USUAL for arm in candidate.arms.values())


def _unstable(candidate: Candidate) -> bool:
    """True if the longer training ends clearly above the worst of the shorter ones."""
    if candidate.longer is None or not candidate.arms:
        return False
    own = candidate.meaning is not None
    late = verdict.readings([candidate.longer], candidate.meaning, own=own)[0][0]
    early = max(r[0] for r in verdict.readings([*candidate.arms.values()], candidate.meaning, own))
    return verdict.relative(early, late) < -_UNSTABLE


class _Pairs:
    """Trainings with a fix and without, seed by seed; on the first seed if there are no fresh ones.

    Attributes:
        seeds: Number of fresh seeds.
        fixed: With the fix.
        without: As it is.
        chance: With a random change of the same part, on those of the seeds that have one.
    """

    def __init__(
        self,
        candidate: Candidate,
        unchanged: Mapping[int, Arm],
        randoms: Mapping[tuple[Part, int], Arm],
    ) -> None:
        meaning, part = candidate.meaning, candidate.fix.part

        def knows(arm: Arm) -> bool:
            return meaning is None or meaning in arm.redefined

        seeds = [s for s in candidate.arms if s in unchanged and knows(unchanged[s])]
        self.seeds = len(seeds)
        self.fixed = [candidate.arms[s] for s in seeds]
        self.without = [unchanged[s] for s in seeds]
        found = [randoms[part, s] for s in seeds if (part, s) in randoms]
        self.chance = [arm for arm in found if knows(arm)]
        if not seeds and candidate.first is not None:
            self.fixed = [candidate.first]
            self.without = [arm for arm in list(unchanged.values())[:1] if knows(arm)]


def judged(
    candidate: Candidate,
    unchanged: Mapping[int, Arm],
    randoms: Mapping[tuple[Part, int], Arm],
) -> verdict.Judged:
    """The verdict on a candidate by its trainings on fresh seeds alone."""
    pairs, meaning = _Pairs(candidate, unchanged, randoms), candidate.meaning
    if pairs.seeds < 2:
        return verdict.Judged("not judged", NO_TIME, 1.0)
    starts = [arm.own_start if meaning is not None else (arm.start, None) for arm in pairs.fixed]
    return verdict.judge(
        verdict.readings(pairs.without, meaning, own=False),
        verdict.readings(pairs.chance, meaning, own=False),
        verdict.readings(pairs.fixed, meaning, own=True),
        starts,
        candidate.fix.redefines,
    )


def _trial(
    candidate: Candidate,
    unchanged: Mapping[int, Arm],
    randoms: Mapping[tuple[Part, int], Arm],
    diagnosis: Diagnosis,
    interrupted: bool,
) -> Trial:
    meaning = candidate.meaning
    pairs = _Pairs(candidate, unchanged, randoms)
    fixed, known, chance = pairs.fixed, pairs.without, pairs.chance
    fixed_readings = verdict.readings(fixed, meaning, own=True)
    base_readings = verdict.readings(known, meaning, own=False)
    chance_readings = verdict.readings(chance, meaning, own=False)
    outcome, reason, p = "failed", candidate.reason, 1.0
    if pairs.seeds > 1 and not candidate.reason:
        found = judged(candidate, unchanged, randoms)
        outcome, reason, p = found.verdict, found.reason, found.p_value
        errors = [code for level, code in candidate.remaining or () if level == "error"]
        if outcome == "proven" and candidate.remaining is None:
            outcome, reason = "not judged", "there was no time to check the fixed copy"
        elif outcome == "proven" and candidate.finding.code in errors:
            outcome, reason = "no better", f"{candidate.finding.code} is still found"
    elif not candidate.reason and candidate.first is not None:
        outcome, reason = "not judged", "not among the best on the first seed"
        gain = 0.0
        if base_readings:
            gain = verdict.relative(base_readings[0][0], fixed_readings[0][0])
        if gain < -verdict.LEAST:
            outcome, reason = "worse", "the loss ends higher than without on the first seed"
        elif gain < verdict.LEAST:
            outcome, reason = "no better", "no better than no change on the first seed"
        elif interrupted:
            reason = "interrupted before the proof"
    elif not candidate.reason or candidate.reason == NO_TIME:
        outcome = "not judged"
        reason = "interrupted before its trial" if interrupted else NO_TIME
    return Trial(
        candidate.fix,
        candidate.finding,
        _measured(known, base_readings, measured(diagnosis.snapshot), meaning is None),
        _measured(fixed, fixed_readings, candidate.probed or Probed(), True),
        _measured(chance, chance_readings, Probed(), True) if chance_readings else None,
        candidate.predicted,
        outcome,  # type: ignore[arg-type]
        reason,
        p,
        pairs.seeds,
        None
        if candidate.remaining is None
        else tuple(dict.fromkeys(code for _, code in candidate.remaining)),
    )


def _measured(
    arms: Sequence[Arm], readings: Sequence[Reading], probed: Probed, own: bool
) -> Measured:
    losses = [loss for loss, _ in readings]
    scores = [score for _, score in readings if score is not None]
    if not losses:
        return Measured(
            math.nan, decades=probed.decades, spread=probed.spread, layers=probed.layers
        )
    starts = [(arm.own_start[0] if own else math.nan) for arm in arms]
    return Measured(
        median(losses),
        min(losses),
        max(losses),
        median(starts) if starts else math.nan,
        median(scores) if scores else None,
        probed.decades,
        probed.spread,
        probed.layers,
        arms[0].parameters if arms else 0,
        median(arm.seconds for arm in arms) if arms else 0.0,
        arms[0].curve if arms else (),
    )
