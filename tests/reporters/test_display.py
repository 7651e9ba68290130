import math
from dataclasses import replace

import pytest

from isograd.records import Link
from isograd.records.chain import Chain, Segment, SegmentTerm
from isograd.reporters import chain_view, display, numbers, speeds, verdict
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


def kinds(*pairs, share=None):
    """A chain of (kind, decades), between two links that matter; optionally with branches."""
    segment = None if share is None else Segment(1, (SegmentTerm("a", "m", None, 0.1),), share)
    links = tuple(
        Link("op", "m", None, kind, 1.0, 10**d, d, i, segment)
        for i, (kind, d) in enumerate([("weight", -1.0), *pairs, ("weight", -1.0)])
    )
    return Chain("p", links, 1.0, 0.0)


def roles(chain):
    return [row.role for row in chain_view.table(chain).rows]


def test_runs_of_near_unit_links_are_merged_from_three_on():
    near = [("weight", 0.001), ("norm", 0.008), ("activation", 0.001)]
    rows = chain_view.table(kinds(*near, ("weight", -1.0), *near[:2])).rows
    assert [row.role for row in rows] == ["link", "fold", "link", "link", "link", "link"]
    assert rows[1].count == 3
    assert rows[1].decades == pytest.approx(0.01)
    assert rows[-1].so_far == pytest.approx(-2.981)


@pytest.mark.parametrize("kind", ["reshape", "dropout", "other", "residual"])
def test_two_links_that_only_hand_the_gradient_on_are_merged(kind):
    assert roles(kinds((kind, 0.004), (kind, -0.004))) == ["link", "fold", "link"]
    assert roles(kinds((kind, 0.004))) == ["link"] * 3
    assert roles(kinds((kind, 0.004), (kind, 0.006))) == ["link"] * 4
    assert roles(kinds((kind, 0.004), ("weight", 0.0))) == ["link"] * 4


def test_the_last_link_is_never_merged():
    ends = Chain("p", kinds(*[("other", 0.0)] * 3).links[1:-1], 1.0, 0.0)
    assert roles(ends) == ["link"] * 3


def test_a_residual_is_merged_unless_its_branches_fight_over_the_gradient():
    assert roles(kinds(("residual", 0.0), ("residual", 0.0), share=0.05))[3] == "fold"
    assert "fold" not in roles(kinds(("residual", 0.0), ("residual", 0.0), share=-0.2))


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


def stopped(name):
    d = SAMPLES[name]()
    return d, display.build(d)


def test_below_an_op_that_zeroes_the_gradient_nothing_is_booked():
    _, shown = stopped("zero")
    assert shown.chain is not None
    assert [row.decades for row in shown.chain.rows][2:] == [-math.inf, None]
    assert [row.so_far for row in shown.chain.rows][2:] == [-math.inf, None]
    assert shown.chain_title.endswith("4 links, exactly zero below `relu`")
    assert {row.name: row.decades for row in shown.kinds} == {
        "activation derivative": -math.inf,
        "weights": pytest.approx(math.log10(0.5)),
        "loss head": pytest.approx(math.log10(2.0)),
    }
    assert "fc" not in {row.name for row in shown.modules}


def test_a_norm_that_overflows_on_the_way_does_not_hide_what_follows():
    _, shown = stopped("overflowing")
    assert shown.chain is not None
    gains = [row.gain for row in shown.chain.rows]
    assert gains == [math.inf, None, 0.5, 1.0]
    assert [row.so_far for row in shown.chain.rows] == [math.inf, None, None, None]
    assert "-2.00 decades, not finite on the way below `mse_loss`" in shown.chain_title
    nan = display.build(SAMPLES["broken"]())
    assert nan.chain_title.endswith("4 links, not finite below `mse_loss`")


def test_a_long_chain_below_a_zero_is_folded():
    links = chain(*[-0.3] * 60).links
    dead = tuple(replace(li, norm=0.0, gain=0.0, decades=-math.inf) for li in links[31:])
    at = replace(links[30], gain=0.0, decades=-math.inf)
    table = chain_view.table(Chain("p", (*links[:30], at, *dead), 0.0, 0.0))
    assert sum(row.count for row in table.rows) == 60
    assert len(table.rows) < 40
    assert sum(row.decades == -math.inf for row in table.rows) == 1


def test_branches_that_cancel_are_told_by_what_is_left():
    assert chain_view.cross(0.04, SAY) == ("+4 %", False)
    assert chain_view.cross(-1.0, SAY) == ("-100 %", False)
    assert chain_view.cross(-4808.86, SAY) == ("branches cancel to 1/69", True)
    assert chain_view.cross(-3.0, SAY) == ("branches cancel to 1/2.0", True)
    assert chain_view.cross(1.5, SAY) == ("branches add", True)
    assert chain_view.cross(None, SAY) == ("-", False)


def compared(*pairs, name="vanishing"):
    """Speeds of layers (batch mean, per-sample RMS), at ops that a gradient of 1 reaches."""
    snapshot = SAMPLES[name]().snapshot
    ops = tuple(replace(op, grad_norm=1.0) for op in snapshot.ops)
    layers = tuple(
        replace(snapshot.layers[0], module=f"l{i}", op_index=i, batch_mean=a, per_sample_rms=b)
        for i, (a, b) in enumerate(pairs)
    )
    return speeds.build(replace(snapshot, ops=ops, layers=layers), SAY)


def test_trap_appears_where_the_two_speeds_tell_different_stories():
    trap = compared((1, 1), (9, 4)).trap
    assert trap.startswith("last/first layer: 9.00x by batch mean, 4.00x by per-sample RMS. ")
    assert compared((1, 1), (0.1, 0.4)).trap


@pytest.mark.parametrize(
    "pairs",
    [
        [(1, 1), (7, 4)],  # less than a factor of 2 apart
        [(1, 1), (4.9, 2.0)],  # far apart, but both say that the layers learn alike
        [(1, 1), (0.21, 0.9)],
        [(0, 1), (7, math.nan)],
        [(1e-6, 1), (1, 1)],  # the first layer's bias cancels by construction
        [(1, 1)],
    ],
)
def test_no_trap_without_a_difference_that_matters(pairs):
    assert compared(*pairs).trap == ""


def test_a_batch_mean_that_cancels_by_construction_is_left_out():
    shown = compared((1e-6, 1), (2, 3))
    assert shown.spread == "last/first layer: 3.00x by per-sample RMS"
    assert shown.cancelled == {0}
    assert any("batch norm" in note for note in shown.notes)


def test_a_speed_that_is_rounding_noise_is_left_out():
    shown = compared((1e-10, 1e-9), (0.2, 0.5), (1, 1), (0.4, 0.5), (1e-12, 1e-11))
    assert shown.noise == {0, 4}
    assert shown.spread == "last/first layer: 2.00x by batch mean, 1.00x by per-sample RMS"
    d = display.build(SAMPLES["symmetric"]())
    assert "6.00x (`head` / `attn.query`" in d.verdict[2]


def test_a_gradient_that_vanishes_is_no_rounding_noise():
    snapshot = SAMPLES["vanishing"]().snapshot
    ops = tuple(replace(op, grad_norm=1e-9) for op in snapshot.ops)
    layers = tuple(
        replace(layer, batch_mean=10.0 ** (4 * i - 20), per_sample_rms=10.0 ** (4 * i - 20))
        for i, layer in enumerate(snapshot.layers)
    )
    ops = tuple(
        next((replace(op, grad_norm=s.per_sample_rms) for s in layers if s.op_index == i), op)
        for i, op in enumerate(ops)
    )
    assert speeds.build(replace(snapshot, ops=ops, layers=layers), SAY).noise == frozenset()


def test_a_ratio_of_zero_is_not_printed():
    for pairs in ([(1, 1), (0, 0)], [(0, 0), (1, 1)], [(1, 1), (0, 2)]):
        shown = compared(*pairs)
        assert "0x" not in (shown.spread + shown.trap).replace("00x", "")


def test_attention_is_what_reads_keys_and_calls_of_a_module_are_one_row():
    (row,) = display.build(SAMPLES["symmetric"]()).attention
    assert (row.module, row.calls) == ("attn", 3)
    assert row.cells == ("16–48", "2.00–4.00", "0.700", "0.100", "0.100", "0.500–0.700")


def test_a_bare_number_gets_the_class_of_its_module():
    shown = display.build(SAMPLES["shared"]())
    assert "between `loss` and `0 (Linear)`" in shown.verdict[1]
    assert shown.findings[0].where == ("0 (Linear)", "(top level)", "1 (Tanh)")
    assert {row.name for row in shown.modules} == {"(top level)", "0 (Linear)", "1 (Tanh)"}


def test_one_of_several_paths_says_so():
    assert display.build(SAMPLES["shared"]()).chain_title == (
        "chain from the loss to `0.weight`: 4 links, -1.52 decades (through the first of 2 calls)"
    )


def test_one_is_singular():
    d = SAMPLES["symmetric"]()
    edges = tuple(e for e in d.snapshot.edges if e.parameter is None)[:1]
    leaf = replace(d.snapshot.edges[-1], index=1, parameter="p", op=None, dominator=0)
    stats = {"p": next(iter(d.snapshot.parameters.values()))}
    snapshot = replace(d.snapshot, edges=(*edges, leaf), parameters=stats, layers=())
    assert ": 1 link, " in display.build(replace(d, snapshot=snapshot)).chain_title
    assert display.build(SAMPLES["shared"]()).verdict[0] == "G301 too large"
    healthy = replace(d, not_checked=("one",))
    assert display.build(healthy).verdict[2].endswith("; 1 rule lacked data")


def test_a_parameter_without_gradient_says_why():
    d = SAMPLES["residual"]()
    shown = display.build(d, parameter="gate")
    assert shown.chain is None
    assert shown.chain_title == "chain from the loss to `gate`"
    assert shown.chain_gap == (
        "no gradient reaches `gate`: no op of the forward pass reads it (model.py:12) (G501)"
    )
    assert shown.kinds == ()
    assert display.build(d, parameter="head.bias").chain_gap == ""
    with pytest.raises(KeyError, match="near names: gate"):
        display.build(d, parameter="gatte")


def test_history_equal_to_before_is_not_shown_twice():
    d = SAMPLES["vanishing"]()
    assert [table.titles for table in display.build(d).histories] == [("before", "after")]
    alone = replace(d, comparison=None)
    assert [table.titles for table in display.build(alone).histories] == [("short training",)]
