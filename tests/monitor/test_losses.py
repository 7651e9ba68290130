"""The loss of each step reaches the run file, also where little else is affordable."""

import numpy as np
import pytest
import torch
from torch import nn

import isograd
from isograd.monitor.governor import Governor
from isograd.monitor.losses import Losses
from isograd.runfile import RunWriter, load


class Journal:
    def __init__(self):
        self.rows = []

    def brief(self, steps, numbers):
        self.rows += list(zip(steps, numbers, strict=True))


def train(run, steps, budget):
    torch.manual_seed(0)
    model, seen = nn.Linear(3, 1), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with isograd.watch(model, optimizer, run=run, budget=budget):
        for _ in range(steps):
            optimizer.zero_grad()
            loss = model(torch.randn(8, 3)).square().mean()
            loss.backward()
            optimizer.step()
            seen.append(loss.item())
    return seen


def test_a_quick_training_leaves_the_loss_of_each_step(tmp_path, monkeypatch):
    monkeypatch.setattr("isograd.monitor.losses.COST", 0.0)  # or a slow machine would thin them
    seen = train(tmp_path / "a", 300, 0.01)
    run = load(tmp_path / "a")
    assert run.steps.tolist() == list(range(300))
    assert run.scalars["loss"].tolist() == seen
    assert (np.diff(run.scalars["time"]) >= 0).all()
    assert run.damage == ()


def test_where_a_step_is_too_quick_every_other_is_noted():
    journal, governor = Journal(), Governor(0.01)
    governor.bare = 1e-4  # 1 us of budget for each step, 0.4 of it for losses: every eighth
    losses = Losses(journal, governor)
    losses.flush()
    for step in range(1000, 1078):
        losses.note(step, 1.0, 0.1)
    losses.finish()
    assert [step for step, _ in journal.rows] == [*range(1000, 1078, 8), 1077]


def test_a_whole_row_comes_after_the_losses_before_it_and_alone():
    journal = Journal()
    losses = Losses(journal, Governor(None))
    for step in range(5):
        losses.note(step, float(step), 0.1)
    losses.written(3)
    losses.flush()
    assert [step for step, _ in journal.rows] == [0, 1, 2]


def test_a_loss_on_a_device_is_left_there():
    journal = Journal()
    losses = Losses(journal, Governor(None))
    losses.note(0, torch.tensor(1.0), 0.1)
    losses.flush()
    assert journal.rows == []


def test_brief_rows_and_whole_rows_are_one_table(tmp_path):
    numbers = [(100.0 + step, step / 2) for step in range(6)]
    with RunWriter(tmp_path / "a", ["w"], ["norm"], ("loss",)) as writer:
        writer.brief(("loss",), [0, 1], numbers[:2])
        writer.step(2, [[7.0]], [1.0])
        writer.brief(("loss",), [3, 4, 5], numbers[3:])
    run = load(tmp_path / "a")
    assert run.steps.tolist() == [0, 1, 2, 3, 4, 5]
    assert run.scalars["loss"].tolist() == [0, 0.5, 1, 1.5, 2, 2.5]
    assert np.flatnonzero(~np.isnan(run.series("w", "norm"))).tolist() == [2]


def test_brief_rows_are_thinned_like_others(tmp_path):
    with RunWriter(tmp_path / "a", ["w"], ["norm"], ("loss",), limit=1 << 17) as writer:
        for at in range(0, 20_000, 50):
            steps = range(at, at + 50)
            writer.brief(("loss",), list(steps), [(0.0, float(step)) for step in steps])
    run = load(tmp_path / "a")
    size = sum(file.stat().st_size for file in (tmp_path / "a").iterdir())
    assert size <= 1 << 17
    assert run.scalars["loss"].tolist() == run.steps.tolist()
    assert 500 < len(run.steps) < 20_000
    assert run.steps[-1] == 19_999


@pytest.mark.parametrize("numbers", [[(1.0,)], [(1.0, 2.0, 3.0)]])
def test_numbers_that_do_not_fit_are_refused(tmp_path, numbers):
    with RunWriter(tmp_path / "a", ["w"], ["norm"], ("loss",)) as writer:
        with pytest.raises(ValueError):
            writer.brief(("loss",), [0], numbers)
