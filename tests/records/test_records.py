"""Records travel through JSON unchanged, and chains follow the dominators."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isograd.records import (
    Diagnosis,
    Edge,
    Evidence,
    Finding,
    History,
    Op,
    ParameterStats,
    Snapshot,
    Term,
)

numbers = st.floats(allow_nan=False)


def snapshot(*, skip: float = 2.0, branch: float = 1.5) -> Snapshot:
    """loss -> add -> linear, where the add forks into a skip and a branch."""
    joined = 3.0
    ops = (
        Op(0, "linear", "stem", "a.py:1", "weight"),
        Op(1, "relu", "branch", "a.py:2", "activation"),
        Op(2, "add", "", "a.py:3", "residual"),
        Op(3, "mse_loss", "", "a.py:4", "loss"),
    )
    edges = (
        Edge(0, 3, None, 1.0, None),
        Edge(1, 2, None, 4.0, 0),
        Edge(2, 1, None, 4.0, 1),
        Edge(
            3, 0, None, joined, 1, (Term(2, skip), Term(1, branch)), joined**2 - skip**2 - branch**2
        ),
        Edge(4, None, "stem.bias", 6.0, 3),
    )
    stats = ParameterStats((4,), 6.0, 3.0, 5.0, 0.0, 0, 1.0)
    return Snapshot(0.5, ops, edges, {"stem.bias": stats})


def test_chain_multiplies_to_the_end_to_end_ratio():
    chain = snapshot().chain("stem.bias")
    assert [link.op for link in chain.links] == ["mse_loss", "add", "linear"]
    assert math.prod(link.gain for link in chain.links) == pytest.approx(6.0, rel=1e-15)
    assert chain.closure < 1e-15


def test_closure_shows_a_gradient_that_was_not_seen():
    wrong = snapshot()
    stats = ParameterStats((4,), 12.0, 6.0, 5.0, 0.0, 0, 1.0)
    wrong = Snapshot(0.5, wrong.ops, wrong.edges, {"stem.bias": stats})
    assert wrong.chain("stem.bias").closure == pytest.approx(math.log(2), rel=1e-12)


def test_segment_holds_the_terms_and_their_cross_term():
    segment = snapshot().chain("stem.bias").links[1].segment
    assert segment is not None
    assert [(t.op, t.skip) for t in segment.terms] == [("add", True), ("relu", False)]
    assert sum(t.norm**2 for t in segment.terms) + segment.cross == pytest.approx(9.0, rel=1e-15)


def test_decades_sum_to_the_chain():
    record = snapshot()
    for by in ("kind", "module"):
        total = sum(record.decades(by).values())
        assert total == pytest.approx(math.log10(6), rel=1e-12)
    with pytest.raises(ValueError, match='"kind" or "module"'):
        record.decades("layer")


def test_unknown_parameter_names_near_ones():
    with pytest.raises(KeyError, match=r"stem\.bias"):
        snapshot().chain("stem.bais")


@given(numbers, st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1e-310]))
def test_json_round_trip_keeps_every_number(value, odd):
    finding = Finding(
        "G101", "a title", "error", "weight-scale", ("a",), None, (Evidence("n", odd),)
    )
    history = History((0, 1), ("a",), ((value, odd),), (value, odd))
    before = Diagnosis((finding,), ("G999: needs data",), snapshot(), history)
    text = json.dumps(before.to_dict(), allow_nan=False)
    after = Diagnosis.from_dict(json.loads(text))
    # repr, as nan differs from itself
    assert repr(after) == repr(before)


def test_another_schema_version_is_refused():
    data = snapshot().to_dict() | {"schema": 99}
    with pytest.raises(ValueError, match="schema version 99"):
        Snapshot.from_dict(data)


def test_ok_and_verdict_ignore_explanations():
    info = Finding("G501", "frozen", "info", "frozen")
    error = Finding("G101", "gradient vanishes", "error", "weight-scale")
    assert Diagnosis((info,), (), snapshot()).ok
    found = Diagnosis((error, info), (), snapshot())
    assert not found.ok
    assert found.verdict == "G101 gradient vanishes"
