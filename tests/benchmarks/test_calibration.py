"""The generated nets: the sample is fixed, and a few go all the way to the tables."""

import math
from dataclasses import replace

import pytest

import isograd

pytest.importorskip("sklearn")

from calibration import grid, run, tables


def test_the_interval_is_that_of_newcombe_1998():
    # Table I of Newcombe (1998), method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    assert tables.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert tables.wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert tables.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert tables.wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_nothing_seen_tells_nothing():
    assert tables.wilson(0, 0) == (0, 1)
    assert math.isnan(tables.quantile([], 0.5))


def test_a_sample_is_fixed_by_its_seed_and_has_no_net_twice():
    nets = grid.sample(300, 3)
    assert nets == grid.sample(300, 3)
    assert nets != grid.sample(300, 4)
    assert len({replace(net, seed=0) for net in nets}) == 300
    for axis, levels in grid.AXES.items():
        assert {getattr(net, axis) for net in nets} == set(levels)


def test_a_sample_larger_than_the_grid_is_refused():
    with pytest.raises(ValueError, match="between 1 and 27648"):
        grid.sample(10**6)


@pytest.mark.parametrize("activation", [*grid.ACTIVATIONS])
def test_the_right_initialisation_keeps_most_of_the_gradient(activation):
    net = grid.Net(8, 256, activation, "right", "none", "no", "SGD 0.05", "digits")
    training = net.training()
    training.step(training.model).backward()
    first, last = (training.model[i].weight.grad.norm() for i in (2, 14))
    # Sigmoid's outputs are not centred, so that it loses 0.2 decades a layer even so.
    assert abs(math.log10(first / last)) < (1.5 if activation == "sigmoid" else 0.6)


def test_the_same_net_trains_alike():
    net = grid.sample(1, 5)[0]
    one, other = net.training(), net.training()
    assert [one.advance() for _ in range(3)] == [other.advance() for _ in range(3)]


NET = grid.Net(2, 16, "relu", "right", "none", "no", "Adam 1e-3", "cancer")
DEEP = replace(NET, depth=16, activation="sigmoid", init="0.1x", task="digits")


def test_truth_compares_with_the_best_net_of_the_task():
    rows = [{"task": "a", "skill": skill} for skill in (0.6, 0.3, 0.1, 0.05, -math.inf)]
    rows.append({"task": "b", "skill": -0.2})
    run.judge(rows)
    assert [row["truth"] for row in rows] == ["learns", "learns", "between", *["fails"] * 3]


@pytest.mark.filterwarnings("ignore")
def test_nets_from_the_grid_to_the_tables():
    rows = [run.measured(net) for net in (NET, replace(NET, seed=1), DEEP)]
    # Something must set the best skill on digits; a copy of a good net's row does.
    rows.append({**rows[0], "task": "digits"})
    run.judge(rows)
    assert [row["truth"] for row in rows] == ["learns", "learns", "fails", "learns"]
    assert rows[0]["alarms"] == []
    assert "G101" in rows[2]["codes"]
    assert rows[2]["decades"] < tables.LIMITS[0].value < rows[0]["decades"]
    text = tables.markdown(rows, "4 nets:")
    assert "4 nets: 3 learn, 1 fail, 0 are in between" in text
    assert "| recall, of nets that fail | 1 | 1 | 100.0 % | 20.7 % to 100.0 % |" in text
    assert "| G101 | 0 | 1 (100.0 %) |" in text


def test_every_limit_has_its_number_and_a_probe_alone_has_none_of_a_training():
    training = NET.training()
    values = tables.quantities(isograd.probe(training.model, training.step), None)
    assert {limit.key for limit in tables.LIMITS} == set(values)
    assert values["update"] is values["uses"] is None
