"""Where the sharpness of a failing training is measured, and what a finding says of it."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import isograd
from isograd.records import Diagnosis
from isograd.reporters.language import translate


def net(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())
    model.append(nn.Linear(32, 4))
    x = torch.randn(64, 16)
    y = (x @ torch.randn(16, 4)).argmax(1)
    return model, lambda model: F.cross_entropy(model(x), y)


def blamed(diagnosis):
    return [f for f in diagnosis.findings if f.alarm and f.cause == "learning-rate"]


def value(finding, name):
    return next(row for row in finding.evidence if row.name == name)


def test_sgd_above_its_limit_is_told_the_sharpness_and_the_stable_rate():
    model, step = net()
    diagnosis = isograd.check(model, step, torch.optim.SGD(model.parameters(), lr=30.0), 50)
    sharp = diagnosis.training.sharpness
    assert sharp.product > sharp.limit == 2.0
    finding = blamed(diagnosis)[0]
    stable = value(finding, "largest stable learning rate").value
    assert stable == pytest.approx(2 / sharp.value)
    rate = value(finding, "learning rate")
    assert rate.value == 30.0
    assert rate.threshold == stable
    assert any(
        f"SGD is stable up to a rate of {stable:.2g}, and yours is 30" in a for a in finding.advice
    )


def test_half_of_the_stable_rate_trains():
    model, step = net()
    sharp = isograd.check(
        model, step, torch.optim.SGD(model.parameters(), lr=30.0), 50
    ).training.sharpness
    model, step = net()
    calm = torch.optim.SGD(model.parameters(), lr=0.5 * sharp.stable_rate)
    assert not blamed(isograd.check(model, step, calm, 50))


def test_adam_is_measured_after_some_steps_at_the_rate_that_helps():
    model, step = net()
    diagnosis = isograd.check(model, step, torch.optim.Adam(model.parameters(), lr=30.0), 50)
    sharp = diagnosis.training.sharpness
    assert sharp.steps == 20
    assert sharp.factor < 1
    assert sharp.limit == pytest.approx(38.0)
    assert sharp.product > sharp.limit
    finding = blamed(diagnosis)[0]
    for row in (*finding.evidence,):
        for text in (row.name, row.how):
            if re.search("[a-z]{4}", text):
                assert re.search("[一-鿿]", translate(text, "zh")), text
    assert re.search("[一-鿿]", translate(finding.advice[-1], "zh"))


def test_a_rate_that_is_too_low_is_told_what_would_be_stable():
    model, step = net()
    diagnosis = isograd.check(model, step, torch.optim.SGD(model.parameters(), lr=1e-7), 50)
    finding = blamed(diagnosis)[0]
    assert value(finding, "largest stable learning rate").value > 0.1
    assert value(finding, "learning rate").threshold is None
    assert not any("is stable up to" in line for line in finding.advice)


def test_a_training_that_learns_is_not_asked():
    model, step = net()
    diagnosis = isograd.check(model, step, torch.optim.Adam(model.parameters(), lr=1e-2), 50)
    assert diagnosis.training.sharpness is None


def test_it_is_the_same_each_time_and_travels_as_json():
    found = []
    for _ in range(2):
        model, step = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=30.0)
        found.append(isograd.check(model, step, optimizer, 30))
    assert found[0].training.sharpness == found[1].training.sharpness
    again = Diagnosis.from_dict(found[0].to_dict())
    assert again.training.sharpness == found[0].training.sharpness
