import math

import pytest
import torch

from isograd.demo import classic, digits, remedies
from isograd.demo.remedies import Change
from isograd.demo.run import compare
from isograd.records import History, Remedy


def raises(seed):
    raise RuntimeError("no such layer")


def attempt(*changes, steps=3):
    return remedies.try_all(
        changes, digits.load(), seed=0, steps=steps, decades=lambda model: -2.5, tick=lambda: None
    )


def test_a_remedy_that_raises_becomes_a_row_with_its_reason():
    (good, history), (bad, none) = attempt(
        Change("no change", classic.build), Change("broken", raises)
    )
    assert good.reason == ""
    assert history is not None
    assert none is None
    assert (bad.name, bad.reason) == ("broken", "RuntimeError: no such layer")
    assert math.isnan(bad.loss)
    assert math.isnan(bad.metric)
    assert remedies.best([good, bad]) is None


def test_a_loss_that_is_not_finite_is_a_reason_and_never_wins():
    changes = [Change("no change", classic.build), Change("too fast", nan_after_start, 1e30)]
    (good, _), (bad, _) = attempt(*changes)
    assert bad.reason == "the loss is not finite at the end"
    assert remedies.best([good, bad]) is None


def nan_after_start(seed):
    """Linear layers, so that a huge rate overflows; saturated sigmoids would not."""
    return classic.build(seed, activation=torch.nn.Identity)


def test_numbers_of_a_remedy_are_those_of_its_training():
    [(remedy, history)] = attempt(Change("no change", classic.build))
    assert history is not None
    assert remedy.spread == history.speeds[-1][0] / history.speeds[0][0]
    assert (remedy.loss, remedy.metric) == (history.loss[-1], history.metric[-1])
    assert remedy.decades == -2.5


@pytest.mark.parametrize(
    ("losses", "winner"),
    [((3.0, 2.0, 1.0), 2), ((3.0, 1.0, 2.0), 1), ((1.0, 2.0, 3.0), None), ((1.0,), None)],
)
def test_the_lowest_loss_wins_unless_no_change_has_it(losses, winner):
    rows = [Remedy(str(loss), 1.0, 0.0, loss, metric=0.5) for loss in losses]
    assert remedies.best(rows) == winner
    marked = remedies.mark(rows, winner)
    assert [row.chosen for row in marked] == [i == winner for i in range(len(rows))]


def test_before_is_the_first_training_and_after_the_best():
    def history(loss):
        return History((0,), ("a",), ((1.0,),), (loss,), (0.5,), "accuracy")

    rows = [
        (Remedy("no change", 1, 0, 3.0, 0.1), history(3.0)),
        (Remedy("x", 1, 0, 2.0, 0.1), history(2.0)),
    ]
    comparison = compare(rows)
    assert comparison.before.loss == (3.0,)
    assert comparison.after.loss == (2.0,)
    assert [remedy.chosen for remedy in comparison.remedies] == [False, True]
    assert compare(rows[:1]).after.loss == (3.0,)


def test_without_the_unchanged_net_there_is_nothing_to_compare():
    with pytest.raises(RuntimeError, match="without a change failed: broken"):
        compare([(Remedy("no change", 1, 0, 3.0, 0.1, reason="broken"), None)])
