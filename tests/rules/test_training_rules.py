"""Rules on the optimizer, the short training and the loss head."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isograd


def task(rate=0.05, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
    x = torch.randn(96, 8)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, **options)
    return model, (lambda m: F.cross_entropy(m(x), y)), optimizer


def codes(diagnosis):
    return [(f.code, f.cause) for f in diagnosis.findings if f.alarm]


@pytest.mark.parametrize("rate", [0.001, 0.05, 0.5])
def test_a_training_that_works_is_quiet(rate):
    assert codes(isograd.check(*task(rate), steps=40)) == []


@pytest.mark.parametrize("rate", [1e3, 1e6])
def test_a_rate_far_above_stability_diverges(rate):
    assert codes(isograd.check(*task(rate), steps=40))[0] == ("G301", "learning-rate")


def test_a_head_replaced_after_the_optimizer_was_built():
    model, step, optimizer = task()
    model[2] = nn.Linear(32, 3)
    diagnosis = isograd.check(model, step, optimizer, steps=5)
    assert codes(diagnosis) == [("G302", "optimizer-state")]
    assert diagnosis.findings[0].where == ("2.weight", "2.bias")


def test_training_the_head_alone_is_explained():
    model, step, _ = task()
    optimizer = torch.optim.SGD(model[2].parameters(), lr=0.05)
    diagnosis = isograd.check(model, step, optimizer, steps=5)
    assert diagnosis.ok
    assert any(f.code == "G302" for f in diagnosis.findings)


def test_ascent():
    found = codes(isograd.check(*task(0.05, maximize=True), steps=40))
    assert ("G302", "optimizer-state") in found


def test_the_copy_is_trained_and_the_model_is_not():
    model, step, optimizer = task()
    before = [p.clone() for p in model.parameters()]
    diagnosis = isograd.check(model, step, optimizer, steps=10)
    assert all(map(torch.equal, model.parameters(), before))
    assert all(p.grad is None for p in model.parameters())
    assert not optimizer.state
    training = diagnosis.training
    assert training is not None
    assert training.loss[-1] < training.loss[0]
    assert training.end is not None


def head(build_loss, classes=3, activation=None):
    torch.manual_seed(0)
    layers = [nn.Linear(8, classes), *([activation] if activation else [])]
    model = nn.Sequential(*layers)
    x = torch.randn(16, 8)
    return isograd.check(model, lambda m: build_loss(m(x)))


LABELS = torch.arange(16) % 3
REAL = torch.linspace(-1, 1, 16)
BINARY = (REAL > 0).float()
WRONG = {
    "softmax twice": (lambda o: F.cross_entropy(o, LABELS), 3, nn.Softmax(1), "loss-head"),
    "sigmoid twice": (
        lambda o: F.binary_cross_entropy_with_logits(o[:, 0], BINARY),
        1,
        nn.Sigmoid(),
        "loss-head",
    ),
    "one class": (lambda o: F.cross_entropy(o, LABELS * 0), 1, None, "loss-head"),
    "broadcast": (lambda o: ((o - REAL) ** 2).mean(), 1, None, "loss-shape"),
}
RIGHT = {
    "logits": (lambda o: F.cross_entropy(o, LABELS), 3, None),
    "log-softmax and nll": (lambda o: F.nll_loss(o, LABELS), 3, nn.LogSoftmax(1)),
    "soft targets": (lambda o: F.cross_entropy(o, F.one_hot(LABELS).float()), 3, None),
    "binary logits": (lambda o: F.binary_cross_entropy_with_logits(o[:, 0], BINARY), 1, None),
    "sigmoid and bce": (lambda o: F.binary_cross_entropy(o[:, 0], BINARY), 1, nn.Sigmoid()),
    "equal shapes": (lambda o: F.mse_loss(o[:, 0], REAL), 1, None),
    "scalar shift": (lambda o: ((o - REAL[0]) ** 2).mean(), 1, None),
    "some labels ignored": (
        lambda o: F.cross_entropy(o, torch.where(LABELS == 1, -100, LABELS)),
        3,
        None,
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_head_is_named(name):
    loss, classes, activation, cause = WRONG[name]
    assert ("G401", cause) in codes(head(loss, classes, activation))


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_head_is_quiet(name):
    loss, classes, activation = RIGHT[name]
    assert codes(head(loss, classes, activation)) == []


def test_all_labels_ignored():
    diagnosis = head(lambda o: F.cross_entropy(o, LABELS * 0 - 100), 3)
    assert any(f.code == "G401" and f.cause == "labels" for f in diagnosis.findings)


def test_a_rate_that_is_far_too_low_is_shown_by_replay():
    diagnosis = isograd.check(*task(1e-7), steps=40)
    assert codes(diagnosis) == [("G303", "learning-rate")]
    assert "too low" in diagnosis.findings[0].title


def test_a_warm_up_from_zero_is_left_alone():
    model, step, optimizer = task(0.05)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: k / 100)
    assert codes(isograd.check(model, step, optimizer, steps=40)) == []


def test_a_solved_problem_has_nothing_to_gain():
    model, step, _ = task()
    trainer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(300):
        trainer.zero_grad()
        step(model).backward()
        trainer.step()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    assert codes(isograd.check(model, step, optimizer, steps=40)) == []
