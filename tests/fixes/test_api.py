"""`isograd.fix` on real nets."""

import json

import pytest
import torch
from torch import nn

import isograd
from isograd.records.fix import Trial


def vanishing():
    torch.manual_seed(0)
    layers = []
    for i in range(6):
        layers += [nn.Linear(8 if i == 0 else 12, 12), nn.Sigmoid()]
    model = nn.Sequential(*layers, nn.Linear(12, 3))
    x = torch.randn(96, 8, generator=torch.Generator().manual_seed(1))
    y = x[:, :3].argmax(1)

    def step(model):
        return nn.functional.cross_entropy(model(x), y)

    return model, step, torch.optim.SGD(model.parameters(), 0.1)


@pytest.fixture(scope="module")
def trials():
    return isograd.fix(*vanishing(), steps=80, time_limit=300.0)


def test_the_sigmoids_are_replaced_and_that_is_proven(trials):
    best = trials[0]
    assert best.proven
    assert best.finding.code == "G101"
    names = {p.name for p in best.fix.parts or (best.fix,)}
    assert "activation" in names
    assert best.after.decades > best.before.decades + 2
    assert best.after.loss < best.before.loss
    assert best.after.score > best.before.score


def test_predictions_stand_beside_measurements(trials):
    swaps = [t for t in trials if t.fix.name == "activation"]
    assert swaps
    assert all(t.predicted is not None and t.after.decades is not None for t in swaps)


def test_a_fix_is_carried_out_on_another_model(trials):
    fix = next(t.fix for t in trials if t.fix.name == "activation")
    model, step, optimizer = vanishing()
    assert fix.apply(model, optimizer) is model
    assert not any(isinstance(m, nn.Sigmoid) for m in model.modules())
    first = step(model)
    for _ in range(40):
        optimizer.zero_grad()
        loss = step(model)
        loss.backward()
        optimizer.step()
    assert loss < first


def test_a_fix_of_the_optimizer_asks_for_it(trials):
    rate = next(p for t in trials for p in (t.fix.parts or (t.fix,)) if p.part == "optimizer")
    model, step, optimizer = vanishing()
    with pytest.raises(ValueError, match="changes the optimizer: give it"):
        rate.apply(model)
    before = optimizer.param_groups[0]["lr"]
    changed = rate.setup(model, step, optimizer)
    assert changed.optimizer.param_groups[0]["lr"] != before
    changed.iterate()


def test_trials_travel_as_json(trials):
    for trial in trials:
        text = json.dumps(trial.to_dict(), allow_nan=False)
        twin = Trial.from_dict(json.loads(text))
        assert twin.to_dict() == trial.to_dict()
        assert twin.fix == trial.fix


def test_a_healthy_training_has_nothing_to_fix():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
    x = torch.randn(64, 4)

    def step(model):
        return (model(x) - x.sum(1, keepdim=True)).square().mean()

    assert isograd.fix(model, step) == []


@pytest.mark.parametrize(
    ("name", "value"), [("steps", 0), ("seeds", 1), ("time_limit", -1), ("jobs", 0)]
)
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be at least"):
        isograd.fix(*vanishing(), **{name: value})


def test_an_unknown_backend_is_refused():
    with pytest.raises(ValueError, match="`backend` must be one of process, serial"):
        isograd.fix(*vanishing(), backend="threads")
