"""Schedulers that a loop steps follow the copy that a check trains: G703, and the user's own."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch.optim import lr_scheduler as schedules

import isograd
from isograd.monitor.schedulers import Schedulers
from rules.trained import alarms, classes, net, sgd


def checked(schedule, metric=False, steps=40, rate=0.3):
    torch.manual_seed(0)
    x, y = classes()
    draws = torch.Generator().manual_seed(1)
    model = net()
    optimizer = sgd(model, rate)
    scheduler = schedule(optimizer)

    def step(m):
        i = torch.randint(len(x), (16,), generator=draws)
        return F.cross_entropy(m(x[i]), y[i])

    def train_step(m, o):
        o.zero_grad()
        loss = step(m)
        loss.backward()
        o.step()
        scheduler.step(*([float(loss.detach())] if metric else []))
        return loss.detach()

    before = copy.deepcopy(scheduler.state_dict()), optimizer.param_groups[0]["lr"]
    diagnosis = isograd.check(model, step, optimizer, steps, train_step=train_step)
    assert (scheduler.state_dict(), optimizer.param_groups[0]["lr"]) == before
    assert scheduler.optimizer is optimizer
    return diagnosis


@pytest.mark.parametrize(
    "schedule",
    [
        lambda o: schedules.ExponentialLR(o, 0.5),
        lambda o: schedules.LambdaLR(o, lambda n: float(n // 1000)),
        lambda o: schedules.StepLR(o, 1, 0.1),
        lambda o: schedules.SequentialLR(
            o,
            [schedules.ConstantLR(o, 1.0, 2), schedules.ExponentialLR(o, 0.2)],
            [2],
        ),
    ],
)
def test_a_schedule_that_takes_the_rate_away(schedule):
    assert alarms(checked(schedule)) == [("G703", "learning-rate")]


def test_a_scheduler_that_does_not_wait_for_the_plateau():
    diagnosis = checked(
        lambda o: schedules.ReduceLROnPlateau(o, factor=0.1, patience=0), metric=True
    )
    assert alarms(diagnosis) == [("G703", "learning-rate")]
    assert diagnosis.training.learning_rate[-1] < 1e-5


@pytest.mark.parametrize(
    "schedule",
    [
        lambda o: schedules.LambdaLR(o, lambda n: min(1.0, n / 1000)),
        lambda o: schedules.LambdaLR(o, lambda n: min(1.0, n / 10)),
        lambda o: schedules.CosineAnnealingLR(o, 40),
        lambda o: schedules.CosineAnnealingWarmRestarts(o, 10),
        lambda o: schedules.OneCycleLR(o, 0.5, total_steps=200),
        lambda o: schedules.ExponentialLR(o, 0.97),
        lambda o: schedules.StepLR(o, 30, 0.1),
    ],
)
def test_schedules_that_are_right(schedule):
    assert alarms(checked(schedule)) == []


def test_the_copy_has_the_rates_of_the_loop():
    diagnosis = checked(lambda o: schedules.ExponentialLR(o, 0.9), steps=20)
    expected = [0.3 * 0.9**n for n in range(20)]
    assert diagnosis.training.learning_rate == pytest.approx(expected)


def test_a_training_goes_on_where_its_schedulers_were():
    model = net()
    optimizer = sgd(model)
    scheduler = schedules.StepLR(optimizer, 2, 0.1)
    copied = sgd(net())
    copied.param_groups[0]["initial_lr"] = 0.3
    bound = Schedulers(optimizer)
    for expected in (0.3, 0.03, 0.03, 0.003):
        with bound.on(copied):
            assert scheduler.optimizer is copied
            scheduler.step()
        assert copied.param_groups[0]["lr"] == pytest.approx(expected)
    assert bound.stepped(copied) == 4
    assert (scheduler.last_epoch, scheduler.optimizer) == (0, optimizer)
    assert Schedulers(None).stepped(copied) == 0
