"""When a fix counts as proven.

The trainings with and without the fix are pairs: same seed, same batches. Of each pair the
relative difference `d = (u - f) / (|u| + |f|)` is taken, where u and f are the losses after the
training without and with the fix, on batches that are the same for both; it lies in [-1, 1], and a
training that broke counts as 1 against one that did not. Proven takes all of these, on seeds that
played no part in choosing the fix:

- `d > 0` on every seed, and one of two one-sided t tests (Student, 1908): of the pairs, both in d
  and in the logarithm of u/f; or of the mean of d against the scatter of the trainings without
  the fix, which is what d would show if the fix did nothing, and then no training with the fix
  may end above one without. Where the first seeds show `d > 0` throughout but too much scatter,
  as many more are trained and all are judged once more. The two tests of the two looks share an
  error rate of 1 % (Bonferroni): 0.25 % each;
- a mean of d above 0.025: the loss falls by 5 % at least;
- the net learns: its loss is below where it started, by 2 % at least;
- where the answers can be scored (accuracy, area under the curve, correlation) they are not worse
  on average by more than a hundredth, and if the fix gives the loss another meaning they must
  be better;
- against random changes of the same part, the mean of d is above 0 by more than its standard error
  over the seeds of the fix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median, stdev

from isograd.fixes.arms import Arm, Reading
from isograd.records.fix import Verdict

# Of one look, both tests together; there are two looks.
LEVEL = 0.005
LEAST = 0.025
_LEARNS = 0.02
_SCORE = 0.01
# Pairs that agree to all digits have no spread; that of rounding and of eight batches is this.
_FLOOR = 1e-3


@dataclass(frozen=True)
class Judged:
    """A verdict.

    Attributes:
        verdict: What it comes to.
        reason: Why it is not proven.
        p_value: Of the test against no change, both tests of this look together.
        undecided: True if more seeds may prove it.
    """

    verdict: Verdict
    reason: str
    p_value: float
    undecided: bool = False

    @property
    def proven(self) -> bool:
        """True if nothing is missing but a check of the fixed copy."""
        return self.verdict == "proven"


def relative(without: float, fixed: float) -> float:
    """How much better `fixed` is, in [-1, 1].

    >>> relative(2.0, 1.0), relative(math.inf, 1.0), relative(1.0, math.inf)
    (0.3333333333333333, 1.0, -1.0)
    """
    broke, good = not math.isfinite(without), math.isfinite(fixed)
    if broke or not good:
        return float(broke) - float(not good)
    size = abs(without) + abs(fixed)
    return (without - fixed) / size if size else 0.0


def p_value(differences: Sequence[float]) -> float:
    """One-sided p-value of a mean above 0, by the t test with a floor on the spread.

    >>> round(p_value([0.2, 0.25, 0.3]), 4)
    0.0065
    """
    n = len(differences)
    if n < 2:
        return 1.0
    error = max(stdev(differences), _FLOOR) / math.sqrt(n)
    return _student(mean(differences) / error, n - 1)


def control_p_value(difference: float, controls: Sequence[float]) -> float:
    """One-sided p-value of a mean relative difference, by the scatter of the controls alone.

    If the fix did nothing, its trainings would scatter like the controls, and the difference of
    two means of n has a variance of 2/n of theirs, with n - 1 degrees of freedom.
    """
    n = len(controls)
    if n < 2:
        return 1.0
    centre = median(controls)
    scatter = max(stdev(relative(c, centre) for c in controls), _FLOOR)
    return _student(difference / (scatter * math.sqrt(2 / n)), n - 1)


def judge(
    unchanged: Sequence[Reading],
    randoms: Sequence[Reading],
    fixed: Sequence[Reading],
    starts: Sequence[Reading],
    redefines: bool,
) -> Judged:
    """Judge trainings that are paired by seed.

    Args:
        unchanged: Loss and score without a change.
        randoms: With a random change of the same part.
        fixed: With the fix.
        starts: Of the copies with the fix, before training.
        redefines: True if the loss has another meaning with the fix.
    """
    pairs = [relative(u[0], f[0]) for u, f in zip(unchanged, fixed, strict=True)]
    p = _paired(unchanged, fixed, pairs)
    if max(f[0] for f in fixed) < min(u[0] for u in unchanged):
        p = min(p, control_p_value(mean(pairs), [u[0] for u in unchanged]))
    p = min(1.0, 2 * p)
    if all(not math.isfinite(f[0]) for f in fixed):
        broken = all(not math.isfinite(u[0]) for u in unchanged)
        return Judged("no better" if broken else "worse", "the training breaks", p)
    if median(pairs) < -LEAST:
        return Judged("worse", "the loss ends higher than without", p)
    better = min(pairs) > 0 and mean(pairs) >= LEAST
    if not better or p > LEVEL:
        reason = "no better than no change beyond the scatter of seeds"
        return Judged("no better", reason, p, better and len(pairs) > 1)
    end, start = median(f[0] for f in fixed), median(s[0] for s in starts)
    if math.isfinite(start) and start - end < _LEARNS * abs(start):
        return Judged("no better", "the net does not learn with it either", p)
    gains = [
        f[1] - u[1]
        for u, f in zip(unchanged, fixed, strict=True)
        if f[1] is not None and u[1] is not None
    ]
    if gains and (mean(gains) < -_SCORE or (redefines and mean(gains) <= 0)):
        return Judged("no better", "the answers score no better", p)
    against = [relative(r[0], f[0]) for r, f in zip(randoms, fixed, strict=False)]
    if against:
        values = [f[0] for f in fixed]
        centre = abs(mean(values)) or 1.0
        scatter = stdev(values) / centre / 2 / math.sqrt(len(values)) if len(values) > 1 else 0.0
        if mean(against) <= scatter:
            return Judged("no better", "no better than random changes of the same kind", p)
    return Judged("proven", "", p)


def _paired(
    unchanged: Sequence[Reading], fixed: Sequence[Reading], pairs: Sequence[float]
) -> float:
    """The larger p-value of two scales.

    Close to its bounds the relative difference hides scatter, which the logarithm of a ratio of
    losses shows; that exists for positive ones only.
    """
    p = p_value(pairs)
    if all(math.isfinite(r[0]) and r[0] > 0 for r in (*unchanged, *fixed)):
        logs = [math.log(u[0] / f[0]) for u, f in zip(unchanged, fixed, strict=True)]
        p = max(p, p_value(logs))
    return p


def readings(arms: Sequence[Arm], key: int | None, own: bool) -> list[Reading]:
    """Losses and scores of arms in one meaning.

    Args:
        arms: Trainings.
        key: Of the fix whose meaning counts; None for the user's.
        own: True for arms that were trained with that fix.
    """
    if key is None:
        return [(arm.loss, arm.score) for arm in arms]
    return [arm.own if own else arm.redefined[key] for arm in arms]


def _student(t: float, freedom: int) -> float:
    """Upper tail of Student's t distribution, by its finite sums for whole degrees of freedom.

    Abramowitz and Stegun (1964), 26.7.3 and 26.7.4.
    """
    theta = math.atan2(t, math.sqrt(freedom))
    cosine = math.cos(theta)
    total, term = 0.0, 1.0
    if freedom % 2:
        first = cosine
        for k in range(1, (freedom - 1) // 2 + 1):
            total += first
            first *= cosine**2 * 2 * k / (2 * k + 1)
        inside = 2 / math.pi * (theta + math.sin(theta) * total)
    else:
        for k in range(1, freedom // 2 + 1):
            total += term
            term *= cosine**2 * (2 * k - 1) / (2 * k)
        inside = math.sin(theta) * total
    return (1 - inside) / 2
