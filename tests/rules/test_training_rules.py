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


def own_loop(train_step, rate=0.05, steps=30, **options):
    model, step, optimizer = task(rate, **options)
    loop = train_step(step)
    return isograd.check(model, step, optimizer, steps=steps, train_step=loop)


def test_clipping_far_below_the_gradient():
    def loop(step):
        def train_step(model, optimizer):
            optimizer.zero_grad()
            step(model).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1e-5)
            optimizer.step()

        return train_step

    assert codes(own_loop(loop))[0] == ("G304", "clipping")


def test_gradients_that_are_never_cleared():
    def loop(step):
        def train_step(model, optimizer):
            step(model).backward()
            optimizer.step()

        return train_step

    assert codes(own_loop(loop))[0] == ("G305", "accumulation")


def test_accumulation_clipping_and_scaling_as_meant_are_quiet():
    def loop(step):
        def train_step(model, optimizer):
            optimizer.zero_grad()
            for _ in range(4):
                (step(model) * 2.0**16 / 4).backward()
            for p in model.parameters():
                p.grad /= 2.0**16
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

        return train_step

    assert codes(own_loop(loop)) == []


def test_no_step_is_ever_taken():
    def loop(step):
        def train_step(model, optimizer):
            optimizer.zero_grad()
            step(model).backward()

        return train_step

    assert codes(own_loop(loop, steps=5))[0] == ("G602", "precision")


def test_momentum_of_one():
    assert codes(isograd.check(*task(0.01, momentum=1.0), steps=10))[0] == (
        "G306",
        "learning-rate",
    )


def test_a_penalty_that_outweighs_the_data():
    model, step, optimizer = task(0.001)

    def penalised(m):
        return step(m) + 50 * sum(p.square().sum() for p in m.parameters())

    found = codes(isograd.check(model, penalised, optimizer, steps=20))
    assert ("G307", "regularization") in found
    small = task(0.05)
    light = isograd.check(
        small[0], lambda m: small[1](m) + 1e-4 * sum(p.square().sum() for p in m.parameters()),
        small[2], steps=20,
    )  # fmt: skip
    assert codes(light) == []


def test_bfloat16_updates_that_round_away():
    model = task()[0].bfloat16()
    x = torch.randn(96, 8).bfloat16()
    y = torch.randint(0, 3, (96,))

    def half(m):
        return F.cross_entropy(m(x).float(), y)

    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    assert codes(isograd.check(model, half, optimizer, steps=20))[0] == ("G603", "precision")


def test_inputs_that_do_not_vary_teach_nothing():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    x = torch.randn(64, 8)
    y = torch.linspace(-1, 1, 64)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    diagnosis = isograd.check(model, lambda m: F.mse_loss(m(x * 0)[:, 0], y), optimizer, steps=30)
    assert ("G402", "data") in codes(diagnosis)


@pytest.mark.parametrize(("scale", "alarm"), [(1.0, False), (200.0, True)])
def test_attention_entropy(scale, alarm):
    torch.manual_seed(0)

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(16, 48)
            self.out = nn.Linear(16, 4)

        def forward(self, x):
            q, k, v = self.qkv(x).chunk(3, -1)
            return self.out(F.scaled_dot_product_attention(q * scale, k, v).mean(1))

    x, y = torch.randn(8, 12, 16), torch.randint(0, 4, (8,))
    found = codes(isograd.check(Head(), lambda m: F.cross_entropy(m(x), y)))
    assert (("G106", "attention-scale") in found) is alarm


def test_time_is_explained_and_alarms_only_when_nothing_is_learnt():
    torch.manual_seed(0)

    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.RNN(4, 32, batch_first=True)
            self.head = nn.Linear(32, 2)

        def forward(self, x):
            return self.head(self.rnn(x)[0][:, -1])

    x = torch.randn(64, 60, 4)
    model = Last()
    early, late = (x[:, 0, 0] > 0).long(), (x[:, -1, 0] > 0).long()
    quiet = isograd.check(model, lambda m: F.cross_entropy(m(x), late))
    assert quiet.ok
    assert any(f.code == "G201" for f in quiet.findings)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    lost = isograd.check(model, lambda m: F.cross_entropy(m(x), early), optimizer, steps=20)
    assert ("G201", "recurrence") in codes(lost)
