import math
from dataclasses import replace

import pytest

from isograd.records import LayerSpeed, Link
from isograd.records.chain import Chain
from isograd.reporters import chain_view, display, numbers, verdict
from isograd.reporters.language import speaker
from reporters.samples import SAMPLES

SAY = speaker("en")


def chain(*decades):
    links = tuple(Link("op", "m", None, "other", 1.0, 10**d, d, i) for i, d in enumerate(decades))
    return Chain("p", links, 10 ** sum(decades), 0.0)


def test_percents_add_up_to_100():
    for parts in ([1, 1, 1], [2, 3, 7, 11], [0.1] * 7, [1e-9, 1.0]):
        assert sum(numbers.percents(parts)) == 100


def test_shares_count_only_what_has_the_sign_of_the_total():
    rows = verdict.shares({"weight": 0.5, "activation": -3.0, "loss": -1.0})
    assert [(row.name, row.percent) for row in rows] == [
        ("activation", 75),
        ("loss", 25),
        ("weight", None),
    ]
    rows = verdict.shares({"weight": 4.0, "activation": -1.0})
    assert [(row.name, row.percent) for row in rows] == [("weight", 100), ("activation", None)]


def test_shares_of_an_endless_loss_have_no_percent():
    assert all(row.percent is None for row in verdict.shares({"a": -math.inf, "b": -1.0}))


def test_verdict_has_three_lines_with_the_factor_and_its_share():
    what, where, then = display.build(SAMPLES["vanishing"]()).verdict
    assert (
        what == "G101 gradient vanishes: 5.1 decades lost between `loss` and `layers.0` (+1 more)"
    )
    assert where == (
        "5.1 decades lost between `loss` and `layers.0`: "
        "activation derivative 65 %, weights 20 %, loss head 15 %"
    )
    assert then.startswith("ReLU and He initialisation: last/first learning speed 3120x -> 2.00x")


def test_verdict_of_a_fault_outside_the_product_shows_its_number():
    _, where, _ = display.build(SAMPLES["learning_rate"]()).verdict
    assert where == "learning rate: 10 (threshold 0.1) at `optimizer`, t.py:5"


def test_verdict_of_a_healthy_net_says_what_was_checked():
    what, _, then = display.build(SAMPLES["residual"]()).verdict
    assert what == "healthy: no gradient fault found"
    assert then.startswith(
        "checked: 18 ops, 10 of 12 parameters with a gradient; fastest layer / slowest 1.25x"
    )


@pytest.mark.parametrize(
    ("name", "words"), [("zero", "exactly zero below `relu`"), ("broken", "not finite below")]
)
def test_verdict_names_the_op_where_the_gradient_ends(name, words):
    assert words in display.build(SAMPLES[name]()).verdict[1]


def test_every_verdict_is_three_full_lines(diagnosis):
    for lang in ("en", "zh"):
        lines = display.build(diagnosis, lang).verdict
        assert len(lines) == 3
        assert all(lines)


def test_short_chain_is_shown_whole():
    rows = chain_view.table(chain(*[-0.3] * 40)).rows
    assert [row.role for row in rows] == ["link"] * 40
    assert rows[-1].so_far == pytest.approx(-12)


def test_runs_of_near_unit_links_are_merged_from_three_on():
    rows = chain_view.table(chain(-1, 0.001, 0.002, 0.001, -1, 0.001, 0.001, -1)).rows
    assert [row.role for row in rows] == ["link", "fold", "link", "link", "link", "link"]
    assert rows[1].count == 3
    assert rows[1].decades == pytest.approx(0.004)
    assert rows[-1].so_far == pytest.approx(-2.994)


def test_long_chain_keeps_the_costliest_links_and_the_ends():
    decades = [-0.02] * 300
    decades[150] = -4.0
    table = chain_view.table(chain(*decades))
    links = [row for row in table.rows if row.role == "link"]
    assert min(row.decades for row in links) == -4.0
    assert len(table.rows) <= 60
    assert sum(row.count for row in table.rows) == 300
    assert sum(row.decades for row in table.rows) == pytest.approx(sum(decades))
    assert len(chain_view.table(chain(*decades), full=True).rows) == 300


def test_terms_and_cross_of_a_segment_follow_it():
    d = SAMPLES["residual"]()
    rows = chain_view.table(d.snapshot.chain(d.snapshot.slowest() or "")).rows
    at = next(i for i, row in enumerate(rows) if row.op == "add")
    skip, branch, cross = rows[at + 1 : at + 4]
    assert (skip.role, skip.kind, branch.kind) == ("term", "skip", "branch")
    assert skip.gain == pytest.approx(1.06 * 0.94)
    assert cross.gain == pytest.approx(1 - 0.94**2 - 0.28**2)


def layer(mean, each):
    return LayerSpeed("l", 0, 3, 8, mean, each)


def test_note_appears_when_the_two_speeds_disagree_by_more_than_two():
    assert display.layers_note((layer(1, 1), layer(9, 4)), SAY).startswith(
        "last/first layer: 9.00x by batch mean, 4.00x"
    )
    assert display.layers_note((layer(1, 1), layer(7, 4)), SAY) == ""
    assert display.layers_note((layer(0, 1), layer(7, math.nan)), SAY) == ""


def test_history_equal_to_before_is_not_shown_twice():
    d = SAMPLES["vanishing"]()
    assert [table.titles for table in display.build(d).histories] == [("before", "after")]
    alone = replace(d, comparison=None)
    assert [table.titles for table in display.build(alone).histories] == [("short training",)]
