"""The order of trials: proven, free of alarms, what was measured, then simplicity."""

from isograd.fixes.arms import Arm
from isograd.fixes.candidates import Candidate
from isograd.fixes.ranking import ranked
from isograd.records import Diagnosis, Finding, Snapshot
from isograd.records.fix import Fix

FINDING = Finding("G101", "gradient vanishes", "warning", "weight-scale")
DIAGNOSIS = Diagnosis((FINDING,), (), Snapshot(1.0, (), (), {}))
SEEDS = (2000, 2001, 2002)


def arm(loss, score=None, start=3.0):
    own = loss, score
    return Arm(
        (start, loss), loss, start, score, None, 10, 0.1, own, (start, None), {0: own, 1: own}
    )


def candidate(key, title, loss, *, weight=1.0, redefines=False, score=None, **known):
    fix = Fix(title, title, redefines=redefines)
    known = {"remaining": (), **known}
    made = Candidate(key, fix, FINDING, None, weight, **known)
    made.first = arm(loss, score)
    made.arms = {s: arm(loss + 0.001 * i, score) for i, s in enumerate(SEEDS)}
    return made


def order(*candidates, base=2.0, score=None, interrupted=False):
    unchanged = {1000: arm(base, score)} | {
        s: arm(base + 0.001 * i, score) for i, s in enumerate(SEEDS)
    }
    trials = ranked(candidates, unchanged, {}, DIAGNOSIS, interrupted)
    return [(t.fix.title, t.verdict) for t in trials]


def test_proven_before_unproven_before_worse_before_failed():
    failed = candidate(0, "failed", 0.1, reason="RuntimeError: no")
    worse = candidate(1, "worse", 2.5)
    same = candidate(2, "same", 1.99)
    good = candidate(3, "good", 0.5)
    assert order(failed, worse, same, good) == [
        ("good", "proven"),
        ("same", "no better"),
        ("worse", "worse"),
        ("failed", "failed"),
    ]


def test_the_lower_loss_first_and_the_simpler_where_they_are_alike():
    a = candidate(0, "complex", 0.50, weight=2.0)
    b = candidate(1, "simple", 0.52, weight=0.5)
    c = candidate(2, "weak", 1.10, weight=0.1)
    assert [title for title, _ in order(a, b, c)] == ["simple", "complex", "weak"]


def test_a_copy_without_alarms_goes_before_a_better_one_with():
    noisy = candidate(0, "noisy", 0.2, remaining=(("warning", "G301"),))
    quiet = candidate(1, "quiet", 0.6)
    assert [title for title, _ in order(noisy, quiet)] == ["quiet", "noisy"]


def test_losses_of_different_meanings_are_ranked_by_score():
    a = candidate(0, "same loss", 0.5, score=0.80)
    b = candidate(1, "new loss", 0.9, score=0.95, redefines=True)
    assert [title for title, _ in order(a, b, score=0.1)] == ["new loss", "same loss"]


def test_what_was_not_proven_on_fresh_seeds_says_why():
    first = candidate(0, "good", 0.5)
    first.arms = {}
    unchanged = {1000: arm(2.0)}
    for interrupted, reason in (
        (False, "not among the best on the first seed"),
        (True, "interrupted before the proof"),
    ):
        (trial,) = ranked([first], unchanged, {}, DIAGNOSIS, interrupted)
        assert (trial.verdict, trial.reason) == ("not judged", reason)
    first.first = arm(1.99)
    (trial,) = ranked([first], unchanged, {}, DIAGNOSIS, False)
    assert (trial.verdict, trial.reason) == (
        "no better",
        "no better than no change on the first seed",
    )
    first.first = arm(2.6)
    (trial,) = ranked([first], unchanged, {}, DIAGNOSIS, False)
    assert (trial.verdict, trial.seeds) == ("worse", 0)


def test_without_a_check_of_the_copy_nothing_is_proven():
    unchecked = candidate(0, "good", 0.5, remaining=None)
    assert order(unchecked) == [("good", "not judged")]


def test_the_before_and_after_are_medians_with_their_range():
    good = candidate(0, "good", 0.5)
    unchanged = {s: arm(2.0) for s in SEEDS}
    (trial,) = ranked([good], unchanged, {}, DIAGNOSIS, False)
    assert (trial.after.loss, trial.after.low, trial.after.high) == (0.501, 0.5, 0.502)
    assert (trial.before.loss, trial.after.start, trial.after.parameters) == (2.0, 3.0, 10)


def together(key, loss, *parts, longer=None, remaining=()):
    """A fix of several parts, which are given as (name, parameters)."""
    made = tuple(Fix(name, name, parameters) for name, parameters in parts)
    title = " + ".join(name for name, _ in parts)
    fix = made[0] if len(made) == 1 else Fix("combination", title, {}, parts=made)
    found = candidate(key, title, loss, remaining=remaining)
    found.fix, found.longer = fix, None if longer is None else arm(longer)
    return found


FASTER = ("rate", {"factor": 10.0, "rates": [0.1]})
SLOWER = ("rate", {"factor": 0.1, "rates": [0.001]})


def test_a_risen_rate_comes_behind_the_same_fix_without_it():
    plain, fast = together(0, 0.9, ("cure", {})), together(1, 0.1, ("cure", {}), FASTER)
    assert [title for title, _ in order(plain, fast)] == ["cure", "cure + rate"]
    # Unless only with it no alarm is left, or nothing is proven without it, or it falls.
    alarming = together(0, 0.9, ("cure", {}), remaining=(("warning", "G301"),))
    assert [title for title, _ in order(alarming, fast)] == ["cure + rate", "cure"]
    weak = together(0, 1.99, ("cure", {}))
    assert [title for title, _ in order(weak, fast)] == ["cure + rate", "cure"]
    slow = together(1, 0.1, ("cure", {}), SLOWER)
    assert [title for title, _ in order(plain, slow)] == ["cure + rate", "cure"]


def test_what_stays_stable_in_a_longer_training_is_first():
    steady, breaks = (
        together(0, 0.5, ("steady", {}), longer=0.2),
        together(1, 0.1, ("breaks", {}), longer=1.8),
    )
    assert [title for title, _ in order(steady, breaks)] == ["steady", "breaks"]
    steady.longer = breaks.longer = None  # then there is nothing to compare
    assert [title for title, _ in order(steady, breaks)] == ["breaks", "steady"]
