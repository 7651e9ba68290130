"""Half precision: G606 and its proof in float32, G603 by entries, loss scales in G304 and G605."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isograd
from isograd.monitor.training import train_copy
from isograd.rules import g304_clipping, g603_lost_updates
from rules.trained import alarms, checked, classes, net, sgd

HALF, BRAIN = torch.float16, torch.bfloat16


def halved(dtype, rate=0.3, optimizer=sgd):
    """The three classes in half precision throughout."""
    x, y = classes()
    model = net().to(dtype)
    return model, lambda m: F.cross_entropy(m(x.to(dtype)).float(), y), optimizer(model, rate)


class Squares(nn.Module):
    """Divides by the root mean square, whose squares pass 65504 in float16."""

    def forward(self, x):
        return x / x.square().mean(-1, keepdim=True).sqrt()


def overflowing(dtype):
    x, y = classes()
    model = nn.Sequential(Squares(), *net()).to(dtype)
    return model, lambda m: F.cross_entropy(m((x * 500).to(dtype)).float(), y), sgd(model)


def test_squares_that_overflow_are_laid_to_the_precision():
    diagnosis = isograd.check(*overflowing(HALF), steps=50)
    assert alarms(diagnosis)[0][1] == "precision"
    first = next(f for f in diagnosis.findings if f.code == "G606")
    assert first.evidence[0].value < first.evidence[1].value
    assert "float16" in first.title


@pytest.mark.parametrize("dtype", [torch.float32, BRAIN])
def test_the_same_squares_in_a_type_with_more_range(dtype):
    assert checked(overflowing(dtype)) == []


def lean(model, rate):
    return torch.optim.Adam(model.parameters(), rate)  # its eps of 1e-8 is 0 in float16


def test_what_breaks_in_float16_and_not_in_float32_is_precision():
    diagnosis = isograd.check(*halved(HALF, 1e-2, lean), steps=50)
    assert alarms(diagnosis)[0] == ("G601", "precision")
    assert "in float32 it does not happen" in diagnosis.findings[0].advice
    assert "G606" in dict(alarms(diagnosis))


@pytest.mark.parametrize("dtype", [HALF, BRAIN])
def test_half_precision_that_learns_is_quiet(dtype):
    assert checked(halved(dtype)) == []


def test_a_rate_too_high_in_half_precision_is_no_matter_of_precision():
    found = dict(checked(halved(BRAIN, 300.0)))
    assert found
    assert "precision" not in found.values()


def test_nan_that_data_make_before_the_first_layer_is_placed_at_its_op():
    x, y = classes()
    model = net()

    def step(m):
        shifted = x - x.abs().max()
        return F.cross_entropy(m(shifted.sqrt()), y)

    first = isograd.check(model, step).findings[0]
    assert (first.code, first.cause) == ("G601", "numerics")
    assert "`sqrt`" in first.title


def test_a_loss_that_is_nan_by_its_own_arithmetic_is_a_finding():
    x, y = classes()
    model = net().half()

    def step(m):
        e = (m(x.half()) * 100).exp()
        return -(e / e.sum(-1, keepdim=True)).gather(1, y[:, None]).log().mean()

    first = isograd.check(model, step).findings[0]
    assert first.code == "G601"
    assert "`exp`" in first.title


def small_steps(rate):
    x, y = classes()
    model = net().to(BRAIN)
    model[0].weight.data.mul_(8)
    model[2].weight.data.mul_(8)
    step = lambda m: F.cross_entropy(m(x.to(BRAIN)).float(), y)  # noqa: E731
    return model, step, torch.optim.SGD(model.parameters(), rate)


def test_updates_that_do_not_land_are_counted_by_entries(monkeypatch):
    diagnosis = isograd.check(*small_steps(1e-3), steps=20)
    assert "G603" in dict(alarms(diagnosis))
    track = diagnosis.training.parameters
    # Biases are smaller and take more of their updates than weights do.
    assert min(track["0.bias"].landed) > max(track["0.weight"].landed)
    monkeypatch.setattr(g603_lost_updates, "STUCK", 1.1)
    assert "G603" not in dict(checked(small_steps(1e-3), 20))


def test_entries_without_a_gradient_do_not_count_as_lost():
    x, y = classes()
    x = torch.cat([x, torch.zeros(len(x), 24)], 1)  # three columns of four are always 0
    model = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3)).to(BRAIN)
    step = lambda m: F.cross_entropy(m(x.to(BRAIN)).float(), y)  # noqa: E731
    training = train_copy(model, step, sgd(model), 5)
    assert min(training.parameters["0.weight"].landed) > 0.6


def amp(order, scale=2.0**16, interval=2000):
    """A loop with a gradient scaler, by the calls it makes after the backward pass."""
    x, y = classes()
    model = net()
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=interval)
    step = lambda m: F.cross_entropy(m(x), y)  # noqa: E731

    def loop(m, optimizer):
        optimizer.zero_grad()
        loss = step(m)
        root = scaler.scale(loss)
        (root if "scale" in order else loss).backward()
        for call in order:
            if call == "unscale":
                scaler.unscale_(optimizer)
            if call == "clip":
                nn.utils.clip_grad_norm_(m.parameters(), 0.5)
            if call == "step":
                scaler.step(optimizer)
                scaler.update()
            if call == "bare":
                optimizer.step()
        return loss.detach()

    return (model, step, sgd(model)), loop, scaler


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (("scale", "clip", "step"), ("G304", "precision")),
        (("scale", "bare"), ("G605", "precision")),
        (("plain", "step"), ("G605", "precision")),
        (("scale", "unscale", "clip", "step"), None),
        (("scale", "step"), None),
    ],
)
def test_calls_of_a_scaler(order, expected):
    trained, loop, _ = amp(order)
    diagnosis = isograd.check(*trained, steps=50, train_step=loop)
    assert (alarms(diagnosis) or [None])[0] == expected
    if "scale" in order:
        assert diagnosis.training.loss_scale == 2.0**16
        assert diagnosis.training.loss[0] == pytest.approx(diagnosis.snapshot.loss, rel=1e-5)


def test_a_scale_by_hand_is_taken_out_of_the_losses():
    trained, _, _ = amp(("scale",))
    model, step, optimizer = trained

    def loop(m, opt):
        opt.zero_grad()
        (step(m) * 4096).backward()
        for p in m.parameters():
            p.grad.div_(4096)
        opt.step()

    diagnosis = isograd.check(model, step, optimizer, 50, train_step=loop)
    assert alarms(diagnosis) == []
    assert diagnosis.training.loss_scale == pytest.approx(4096, rel=1e-5)
    assert diagnosis.training.loss[0] == pytest.approx(diagnosis.snapshot.loss, rel=1e-5)


def test_the_limit_of_clipping_counts_without_the_scale(monkeypatch):
    trained, loop, _ = amp(("scale", "clip", "step"))
    monkeypatch.setattr(g304_clipping, "LANDED", 0.0)
    assert "G304" not in dict(checked(trained, train_step=loop))


@pytest.mark.parametrize("used", [False, True])
def test_the_users_scaler_is_left_as_it_was(used):
    trained, loop, scaler = amp(("scale", "step"), interval=1)  # grows at each step
    if used:
        scaler.scale(torch.ones(()))
    before = scaler.state_dict(), scaler._scale
    diagnosis = isograd.check(*trained, steps=5, train_step=loop)
    assert diagnosis.training.loss_scale > 2.0**16
    assert scaler.state_dict() == before[0]
    assert (scaler._scale is None) == (before[1] is None)


def test_steps_that_a_scaler_skips_prove_nothing_about_half_precision():
    """A scale from far above halves at first; in float32 no step is skipped, and more are taken."""
    torch.manual_seed(0)
    x = torch.randn(256, 16)
    y = (x[:, :2].prod(1) + x[:, 2])[:, None]
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 1))
    scale = [2.0**30]

    def step(m):
        hidden = F.linear(x.half(), m[0].weight.half(), m[0].bias.half()).relu()
        out = F.linear(hidden, m[2].weight.half(), m[2].bias.half())
        return F.mse_loss(out.float(), y)

    def train(m, optimizer):
        optimizer.zero_grad()
        loss = step(m) * scale[0]
        loss.backward()
        gradients = [p.grad for p in m.parameters()]
        if all(g.isfinite().all() for g in gradients):
            for g in gradients:
                g.div_(scale[0])
            optimizer.step()
        else:
            scale[0] /= 2
        return loss

    optimizer = torch.optim.SGD(model.parameters(), 0.02)
    diagnosis = isograd.check(model, step, optimizer, 40, train_step=train)
    training = diagnosis.training
    assert len(training.loss) < 40
    wide = [r for r in training.replays if r.change == "float32"]
    assert [len(r.loss) for r in wide] == [len(training.loss)] * len(wide)
    assert wide
    assert "G606" not in {f.code for f in diagnosis.findings if f.alarm}


def test_a_loss_scaled_by_hand_is_seen_through_also_where_batches_scatter():
    """The first batch's loss is smaller than the measured one: the ratio is below the scale."""
    torch.manual_seed(0)
    model = net()
    x, y = classes()
    weights = iter([1.0] + [0.75] * 1000)

    def step(m):
        return F.cross_entropy(m(x), y) * next(weights)

    def train(m, optimizer):
        optimizer.zero_grad()
        loss = step(m) * 1024
        loss.backward()
        for p in m.parameters():
            p.grad /= 1024
        optimizer.step()
        return loss

    training = isograd.check(model, step, sgd(model, 0.1), 20, train_step=train).training
    assert training.loss[0] < 10
    assert training.loss_scale == pytest.approx(768, rel=0.01)
