"""The labelled trainings: their labels are well formed, and a sample of them is true."""

import json
from collections import Counter
from typing import get_args

import pytest
import torch

from isograd import probe
from isograd.errors import IsogradError
from isograd.records.finding import Cause

pytest.importorskip("sklearn")

from diagnosis import peers, registry, run, verify
from diagnosis.registry import GROUPS, cases, split

FAULTY = [case for case in cases() if not case.healthy]
HEALTHY = [case for case in cases() if case.healthy]
BY_NAME = {case.name: case for case in cases()}


def names(chosen):
    return [case.name for case in chosen]


def test_there_are_enough_of_both_kinds_and_of_each_group():
    assert len(FAULTY) >= 70
    assert len(HEALTHY) >= 50
    assert {case.group for case in cases()} == set(GROUPS)


def test_every_cause_is_one_that_findings_know():
    known = set(get_args(Cause))
    assert [case.name for case in FAULTY if not set(case.causes) <= known or not case.causes] == []


def test_healthy_cases_have_no_cause():
    assert all(case.causes == () for case in HEALTHY)


def test_the_halves_share_nothing_and_both_have_each_group():
    dev, test = split("dev"), split("test")
    assert set(dev).isdisjoint(test)
    assert set(dev) | set(test) == set(cases())
    one, other = (Counter(case.group for case in half) for half in (dev, test))
    assert all(one[group] and other[group] for group in GROUPS)
    assert {case.name for case in test} == set(registry._UNSEEN.read_text().split())


def test_an_alarm_below_an_accepted_place_counts():
    case = BY_NAME["graph/detach"]
    alarm = {"cause": "graph-cut", "where": ["body.0.weight"]}
    assert run._judged(case, [alarm])["place"]
    assert not run._judged(case, [{**alarm, "where": ["bodyguard"]}])["place"]


@pytest.mark.parametrize("name", ["gain/sigmoid-mlp", "time/lstm-forgets", "plain/transformer"])
def test_the_same_seed_gives_the_same_training(name):
    losses = []
    for seed in (3, 3, 4):
        training = BY_NAME[name](seed)
        losses.append([training.advance() for _ in range(3)])
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("name", ["gain/zero-weights", "loop/clip-tiny", "plain/linear"])
def test_labels_hold(name):
    assert verify.judged(name, 1)["problem"] == ""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", names(cases()))
def test_every_training_is_built_and_can_be_probed(name):
    case = BY_NAME[name]
    training = case(0)
    before = [p.detach().clone() for p in training.model.parameters()]
    try:
        probe(training.model, training.step)
    except IsogradError:
        # A probe may refuse a fault and say why; it may not refuse a healthy training.
        assert not case.healthy
    after = list(training.model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_stored_references_belong_to_the_cases():
    stored = json.loads(verify.REFERENCE.read_text())
    assert set(stored) == set(BY_NAME)
    assert {name: row["problem"] for name, row in stored.items() if row["problem"]} == {}


def test_peers_hear_a_nan_and_see_no_difference_in_what_is_not_there():
    broken = peers.Trace(loss=[1.0, float("nan")])
    assert all(rules(broken) for rules in peers.PEERS.values())
    assert peers.global_norm(peers.Trace(loss=[1.0, 0.5])) == []
