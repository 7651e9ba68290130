"""The engine as a whole, with fixes made for the purpose."""

import copy
import os
import random

import numpy as np
import pytest
import torch
import trainings
from trainings import DIAGNOSIS, Greedy, Hangs, Placebo, Raises, Rate, catalogue

from isograd.fixes.engine import Options, tried

BACKENDS = ["serial"] + ["process"] * (os.name == "posix")


def nothing_left(_):
    return ()


def tries(setup, check=nothing_left, **options):
    options = {"steps": 40, "backend": "serial", "time_limit": 120.0, **options}
    return tried(setup, DIAGNOSIS, check, Options(**options))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_known_cure_is_proven_and_placebos_are_not(monkeypatch, backend):
    catalogue(monkeypatch, Placebo, Rate)
    trials = tries(trainings.setup(), backend=backend)
    assert [t.fix.title for t in trials if t.proven] == ["rate 0.1"]
    best = trials[0]
    assert best.after.loss < 0.5 * best.before.loss
    assert best.after.low <= best.after.loss <= best.after.high
    assert (best.seeds, best.predicted, best.remaining, best.reason) == (3, -0.5, (), "")
    assert best.random is not None
    assert len(best.after.curve) == 40


def test_no_placebo_is_proven_over_many_trainings(monkeypatch):
    """The whole engine, its choice of the best of six on one seed included."""
    catalogue(monkeypatch, Placebo)
    claims = 0
    for seed in range(4):
        setup = trainings.setup(rate=0.02)
        torch.manual_seed(seed)
        for layer in setup.model:
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
        claims += sum(t.proven for t in tries(setup, steps=12))
    assert claims == 0


def test_seeds_that_choose_are_not_seeds_that_prove(monkeypatch):
    from isograd.fixes import arms

    seen = []
    original = arms.run

    def noted(setup, change, seed, *rest, **options):
        seen.append((seed, options["redraw"]))
        return original(setup, change, seed, *rest, **options)

    monkeypatch.setattr(arms, "run", noted)
    catalogue(monkeypatch, Rate)
    trial = tries(trainings.setup(), seeds=2, steps=10)[0]
    chosen = [seed for seed, redraw in seen if not redraw]
    proving = [seed for seed, redraw in seen if redraw]
    assert set(chosen).isdisjoint(proving)
    assert len(set(proving)) == trial.seeds in (2, 4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_users_things_stay_as_they_are(monkeypatch, backend):
    catalogue(monkeypatch, Rate, Placebo, Raises)
    setup = trainings.setup()
    setup.model.train()
    weights = copy.deepcopy(setup.model.state_dict())
    settings = copy.deepcopy(setup.optimizer.state_dict())
    state = dict(setup.step.state)
    draws = setup.step.generator.get_state(), torch.get_rng_state()
    others = random.getstate(), np.random.get_state()[1].copy()
    tries(setup, steps=5, backend=backend)
    assert all(torch.equal(weights[k], v) for k, v in setup.model.state_dict().items())
    assert setup.optimizer.state_dict() == settings
    assert all(p.grad is None for p in setup.model.parameters())
    assert not any(m._forward_hooks or m._backward_hooks for m in setup.model.modules())
    assert setup.model.training
    assert setup.step.state == state
    assert torch.equal(setup.step.generator.get_state(), draws[0])
    assert torch.equal(torch.get_rng_state(), draws[1])
    assert random.getstate() == others[0]
    assert (np.random.get_state()[1] == others[1]).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_trial_that_fails_is_a_row_with_its_reason(monkeypatch, backend):
    catalogue(monkeypatch, Raises, Greedy, Rate)
    trials = {t.fix.title: t for t in tries(trainings.setup(), backend=backend)}
    assert trials["raises"].verdict == trials["greedy"].verdict == "failed"
    assert trials["raises"].reason == "RuntimeError: no such layer"
    assert trials["greedy"].reason.startswith("out of memory")
    assert trials["rate 0.1"].proven
    assert next(iter(trials)) == "rate 0.1"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_trial_that_hangs_is_a_row_with_its_reason(monkeypatch, backend):
    catalogue(monkeypatch, Hangs, Rate)
    trials = {t.fix.title: t for t in tries(trainings.setup(), backend=backend, time_limit=9.0)}
    assert trials["hangs"].reason == "took longer than 3 s"
    assert trials["rate 0.1"].proven


def test_no_time_gives_rows_too(monkeypatch):
    catalogue(monkeypatch, Rate)
    (trial,) = tries(trainings.setup(), time_limit=1e-6)
    assert (trial.verdict, trial.reason) == ("not judged", "no time was left")


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_interruption_gives_what_is_known(monkeypatch, backend):
    catalogue(monkeypatch, Rate, Placebo)

    def interrupts(stage, done, total):
        if stage == "proof" and done == 2:
            raise KeyboardInterrupt

    trials = tries(trainings.setup(), backend=backend, progress=interrupts)
    best = next(t for t in trials if t.fix.title == "rate 0.1")
    assert not best.proven
    assert best.reason == "interrupted before the proof"
    assert best.after.loss < best.before.loss


def test_an_interruption_of_the_screening_gives_what_is_known(monkeypatch):
    catalogue(monkeypatch, Rate, Placebo)

    def interrupts(stage, done, total):
        if stage == "screening" and done == 3:
            raise KeyboardInterrupt

    trials = {t.fix.title: t for t in tries(trainings.setup(), progress=interrupts, jobs=1)}
    assert trials["rate 0.1"].after.loss < trials["rate 0.1"].before.loss
    assert trials["placebo 5"].reason == "interrupted before its trial"


@pytest.mark.parametrize("backend", BACKENDS)
def test_trials_repeat(monkeypatch, backend):
    catalogue(monkeypatch, Rate, Placebo)

    def numbers():
        trials = tries(trainings.setup(), steps=10, backend=backend)
        return [(t.fix.title, t.after.loss, t.before.loss, t.p_value, t.verdict) for t in trials]

    assert numbers() == numbers()


@pytest.mark.skipif("process" not in BACKENDS, reason="no fork on this platform")
def test_both_backends_measure_the_same(monkeypatch):
    catalogue(monkeypatch, Rate)
    losses = [tries(trainings.setup(), steps=10, backend=b)[0].after.loss for b in BACKENDS]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)  # other thread counts, float32


def test_a_copy_that_still_has_the_alarm_is_not_proven(monkeypatch):
    catalogue(monkeypatch, Rate)
    trial = tries(trainings.setup(), lambda _: (("error", "G301"),))[0]
    assert not trial.proven
    assert trial.reason == "G301 is still found"
    assert trial.remaining == ("G301",)


def test_a_fix_is_added_to_another_while_it_helps(monkeypatch):
    class Half(Rate):
        name, to = "half", (0.003,)

    class Momentum(Rate):
        """Only proposed on top."""

        name, partner, cures = "momentum", True, frozenset()

        def proposals(self, case):
            yield trainings.Proposal("momentum 0.9", {})

        def change(self, setup, parameters):
            for group in setup.optimizer.param_groups:
                group["momentum"] = 0.9
            return setup

    class Tenfold(Momentum):
        """Sets what the first fix sets."""

        name = "tenfold"

        def proposals(self, case):
            yield trainings.Proposal("ten times", {})

        def change(self, setup, parameters):
            for group in setup.optimizer.param_groups:
                group["lr"] *= 10
            return setup

    catalogue(monkeypatch, Half, Momentum, Tenfold)
    trials = tries(trainings.setup())
    assert trials[0].fix.title == "rate 0.003 + momentum 0.9"
    assert [p.name for p in trials[0].fix.parts] == ["half", "momentum"]
    assert trials[0].proven
    titles = [t.fix.title for t in trials]
    assert "momentum 0.9" not in titles
    assert not any("ten times" in title for title in titles)


def test_progress_tells_stages_and_counts(monkeypatch):
    catalogue(monkeypatch, Rate)
    told = []
    tries(trainings.setup(), steps=None, progress=lambda *a: told.append(a))
    stages = list(dict.fromkeys(stage for stage, _, _ in told))
    assert stages == ["timing", "screening", "proof"]
    assert all(done <= total for _, done, total in told)
    assert told[-1][1] == told[-1][2]


def test_neighbours_of_the_cause_are_tried_where_its_own_fixes_do_not_help(monkeypatch):
    class Elsewhere(Rate):
        """Cures what the alarm is mistaken for."""

        name, cures = "elsewhere", frozenset(("optimizer-state",))

    catalogue(monkeypatch, Placebo, Elsewhere)
    trials = tries(trainings.setup())
    assert trials[0].fix.name == "elsewhere"
    assert trials[0].proven
    assert trials[0].finding.code == "G301"
    catalogue(monkeypatch, Rate, Elsewhere)
    assert [t.fix.name for t in tries(trainings.setup(), steps=10)] == ["rate"]
    catalogue(monkeypatch, Elsewhere)
    assert [t.fix.name for t in tries(trainings.setup(), steps=10)] == ["elsewhere"]


def test_a_fix_that_cannot_propose_is_one_warning(monkeypatch):
    class Broken(Rate):
        name = "broken"

        def proposals(self, case):
            raise KeyError("no such op")

    catalogue(monkeypatch, Broken, Rate)
    with pytest.warns(UserWarning, match="the fix 'broken' cannot propose"):
        trials = tries(trainings.setup(), steps=10)
    assert [t.fix.name for t in trials] == ["rate"]


def test_neighbours_are_causes():
    from typing import get_args

    from isograd.fixes.neighbours import NEIGHBOURS
    from isograd.records.finding import Cause

    named = {*NEIGHBOURS, *(near for group in NEIGHBOURS.values() for near in group)}
    assert named <= set(get_args(Cause))
