"""Learning rates: which fixes are mere rates, what is tried beside one, what they are called."""

import dataclasses

import pytest
import torch
import trainings
from torch import nn

import isograd
from isograd.fixes.candidates import Candidate
from isograd.fixes.kind import Case, kinds
from isograd.fixes.rates import is_meant, is_rate, rate_times, rises
from isograd.fixes.setup import Setup
from isograd.records.fix import Fix


def candidate(factor):
    return Candidate(0, Fix("rate", "", {"factor": factor, "rates": [0.1]}), trainings.FINDING)


def test_a_rate_rises_or_falls_and_other_fixes_do_neither():
    assert is_meant(candidate(3.0))
    other = dataclasses.replace(trainings.FINDING, code="G601", cause="precision")
    assert not is_meant(dataclasses.replace(candidate(3.0), finding=other))
    assert rises(candidate(3.0).fix)
    assert is_rate(candidate(0.3).fix)
    assert not rises(candidate(0.3).fix)
    assert not is_rate(Fix("attention-scale", "", {"factor": 3.0, "lines": []}))


def test_the_rate_beside_another_is_one_for_the_same_finding():
    setup = trainings.setup(rate=1e-4)
    (near,) = rate_times(setup, candidate(100.0), 300.0, 7)
    assert (near.key, near.finding) == (7, trainings.FINDING)
    assert near.fix.parameters == {"factor": 300.0, "rates": [0.03]}
    (nearer,) = rate_times(setup, candidate(100.0), 30.0, 8)
    assert nearer.weight < near.weight  # of two that do as well


def test_a_rate_that_the_loop_sets_is_named_with_the_old_one():
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def step(model):
        return model(torch.randn(8, 4)).square().mean()

    def train_step(model, optimizer):
        optimizer.zero_grad()
        for group in optimizer.param_groups:
            group["lr"] = 1e-6
        loss = step(model)
        loss.backward()
        optimizer.step()
        return loss

    diagnosis = isograd.check(model, step, optimizer, 5, train_step=train_step)
    finding = dataclasses.replace(trainings.FINDING)
    setup = Setup(model, step, optimizer, train_step)
    titles = [p.title for p in kinds()["learning-rate"].proposals(Case(setup, diagnosis, finding))]
    assert any(t.startswith("the loop's learning rate at 0.0001 instead of 1e-06") for t in titles)
    assert not any(t.startswith("learning rate") for t in titles)


@pytest.mark.parametrize("momentum", [0.99, 0.9])
def test_long_momentum_is_shortened_or_left_out(momentum):
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=momentum)
    setup = Setup(model, lambda m: m(torch.ones(1, 4)).sum(), optimizer)
    found = list(kinds()["momentum"].proposals(Case(setup, trainings.DIAGNOSIS, trainings.FINDING)))
    assert [p.title for p in found] == ["momentum 0.9", "no momentum"] * (momentum > 0.95)
