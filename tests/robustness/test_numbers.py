"""What a watch writes down is what the loop did, for every kind of loop."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_  # bound before anybody watches

import isograd
from robustness.oracle import Truth, agrees

STEPS = 8


def net():
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 3))


def batch():
    return torch.randn(8, 6), torch.randint(0, 3, (8,))


def loss_of(model):
    x, y = batch()
    return F.cross_entropy(model(x), y)


def usual(model, truth, trainer, backward=None, change=lambda: None):
    trainer.zero_grad()
    loss = loss_of(model)
    loss.backward()
    truth.raw(loss)
    change()
    truth.stepped()
    trainer.step()
    truth.done()


def plain(model, truth):
    trainer = torch.optim.Adam(model.parameters(), lr=1e-2)
    return trainer, lambda: usual(model, truth, trainer)


def clipped(model, truth):
    trainer = torch.optim.SGD(model.parameters(), lr=0.5)
    limits = iter([0.05, 100.0, 0.2, 0.05, 1e-3, 0.3, 50.0, 0.01])
    return trainer, lambda: usual(
        model, truth, trainer, change=lambda: clip_grad_norm_(model.parameters(), next(limits))
    )


def clipped_in_parts(model, truth):
    """Each layer on its own, by the largest entry: no one factor holds for all."""
    trainer = torch.optim.SGD(model.parameters(), lr=0.5)

    def change():
        clip_grad_norm_(model[0].parameters(), 0.01, norm_type=math.inf)
        clip_grad_norm_(model[2].bias, 0.02)

    return trainer, lambda: usual(model, truth, trainer, change=change)


def clamped(model, truth):
    trainer = torch.optim.SGD(model.parameters(), lr=0.5)
    return trainer, lambda: usual(
        model, truth, trainer, change=lambda: clip_grad_value_(model.parameters(), 0.01)
    )


def clipped_by_hand(model, truth):
    trainer = torch.optim.SGD(model.parameters(), lr=0.5)

    def change():
        for parameter in model.parameters():
            parameter.grad.mul_(0.25)

    return trainer, lambda: usual(model, truth, trainer, change=change)


def accumulated(model, truth):
    trainer = torch.optim.AdamW(model.parameters(), lr=1e-2)

    def iteration():
        trainer.zero_grad(set_to_none=False)
        for _ in range(3):
            loss = loss_of(model) / 3
            loss.backward()
        truth.raw(loss)
        truth.stepped()
        trainer.step()
        truth.done()

    return trainer, iteration


def closure(model, truth):
    """As Lightning does: everything happens inside of the optimizer's step."""
    trainer = torch.optim.Adam(model.parameters(), lr=1e-2)

    def run():
        trainer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        truth.raw(loss)
        clip_grad_norm_(model.parameters(), 0.1)
        truth.stepped()
        return loss

    def iteration():
        trainer.step(run)
        truth.done()

    return trainer, iteration


def lbfgs(model, truth):
    """The first evaluation of each step is the gradient at its start."""
    trainer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
    x, y = batch()
    first = []

    def run():
        trainer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        if not first:
            truth.raw(loss)
            truth.stepped()
            first.append(True)
        return loss

    def iteration():
        trainer.step(closure=run)
        first.clear()
        truth.done()

    return trainer, iteration


def in_backward(model, truth):
    """Each parameter has its optimizer, which steps as soon as the gradient is there."""
    trainers = {n: torch.optim.SGD([p], lr=0.1) for n, p in model.named_parameters()}
    names = {id(p): n for n, p in model.named_parameters()}
    row: dict = {}

    def update(parameter):
        name = names[id(parameter)]
        row["raw"][name] = parameter.grad.double().norm().item()
        row["weight"][name] = parameter.detach().double().norm().item()
        before = parameter.detach().double().clone()
        trainers[name].step()
        row["update"][name] = (parameter.detach().double() - before).norm().item()
        trainers[name].zero_grad()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(update)

    def iteration():
        row.update(raw={}, weight={}, update={})
        loss = loss_of(model)
        loss.backward()
        truth.rows.append({**row, "loss": math.nan})

    return list(trainers.values()), iteration


LOOPS = [plain, clipped, clipped_in_parts, clamped, clipped_by_hand, accumulated, closure, lbfgs]


@pytest.mark.parametrize("known", [True, False], ids=["given", "found"])
@pytest.mark.parametrize("make", LOOPS, ids=lambda make: make.__name__)
def test_every_number_of_a_step_is_that_of_the_loop(make, known, tmp_path):
    torch.manual_seed(0)
    model = net()
    truth = Truth(model)
    trainer, iteration = make(model, truth)
    given = trainer if known else None
    with isograd.watch(model, given, run=tmp_path / "run", budget=None) as watch:
        for _ in range(STEPS):
            iteration()
    assert watch.failed == ""
    run = agrees(truth, watch.run)
    assert run.verdict


def test_an_optimizer_for_each_parameter_makes_one_step_of_one_backward_pass(tmp_path):
    torch.manual_seed(0)
    model = net()
    truth = Truth(model)
    _, iteration = in_backward(model, truth)
    with isograd.watch(model, run=tmp_path / "run", budget=None) as watch:
        for _ in range(STEPS):
            iteration()
    assert watch.failed == ""
    run = isograd.load(watch.run)
    assert len(run.steps) == STEPS
    for name, _ in model.named_parameters():
        for at, row in enumerate(truth.rows):
            assert run.series(name, "grad_norm")[at] == pytest.approx(row["raw"][name], rel=1e-4)
            assert run.series(name, "update_norm")[at] == pytest.approx(
                row["update"][name], rel=1e-4
            )


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
@pytest.mark.parametrize("unscaled", [False, True], ids=["scaler's", "clipped"])
def test_a_gradient_scaler_is_seen_through_and_its_skipped_steps_counted(fused, unscaled, tmp_path):
    """The scale starts where float16 overflows, so that the first steps are skipped."""
    torch.manual_seed(0)
    model = net()
    trainer = torch.optim.Adam(model.parameters(), lr=1e-2, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24, growth_interval=5)
    truth, scales, skipped = Truth(model), [], 0
    with isograd.watch(model, trainer, run=tmp_path / "run", budget=None) as watch:
        while len(truth.rows) < STEPS:
            x, y = batch()
            trainer.zero_grad()
            with torch.autocast("cpu", torch.float16):
                loss = F.cross_entropy(model(x).float(), y)
            scaler.scale(loss).backward()
            scale = scaler.get_scale()
            truth.raw(loss, scale)
            finite = all(p.grad.isfinite().all() for p in model.parameters())
            if unscaled:
                scaler.unscale_(trainer)
                clip_grad_norm_(model.parameters(), 0.1)
                truth.stepped()
            else:
                truth.stepped(scale)
            scaler.step(trainer)
            scaler.update()
            if finite:
                truth.done()
                scales.append(scale)
            skipped += not finite
    assert watch.failed == ""
    assert skipped > 3
    run = isograd.load(watch.run)
    taken = run.scalars
    fine = [at for at, value in enumerate(taken["grad_norm"]) if math.isfinite(value)]
    # A fused optimizer is called for a step that it leaves out; another one is not.
    assert len(run.steps) == STEPS + (skipped if fused else 0)
    assert len(fine) == STEPS
    assert taken["skipped"][-1] == skipped
    for at, row in zip(fine, truth.rows, strict=True):
        assert taken["loss"][at] == pytest.approx(row["loss"], rel=1e-5)
        for name, value in row["raw"].items():
            seen = run.series(name, "grad_norm")[at]
            assert seen == pytest.approx(value, rel=2e-3)  # half precision in between
            assert run.series(name, "update_norm")[at] == pytest.approx(
                row["update"][name], rel=1e-4
            )
    assert not any(alarm.name == "nonfinite" for alarm in watch.alarms)
    training = watch.diagnosis().training
    assert training is not None
    if not unscaled:
        assert training.clip_ratio == pytest.approx([1.0] * len(training.clip_ratio), rel=2e-3)


def test_two_optimizers_do_not_mix_their_gradients(tmp_path):
    """The maker's loss leaves gradients on the critic: they belong to no step."""
    torch.manual_seed(0)
    maker, critic = nn.Linear(3, 2), nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
    both = nn.ModuleDict({"maker": maker, "critic": critic})
    trainers = [torch.optim.Adam(m.parameters(), lr=1e-2) for m in (maker, critic)]
    rows = []
    with isograd.watch(both, trainers, run=tmp_path / "run", budget=None) as watch:
        for _ in range(STEPS):
            fake = maker(torch.randn(16, 3))
            trainers[1].zero_grad()
            loss = F.softplus(critic(fake.detach())).mean()
            loss = loss + F.softplus(-critic(torch.randn(16, 2))).mean()
            loss.backward()
            row = {
                f"critic.{n}": p.grad.double().norm().item() for n, p in critic.named_parameters()
            }
            trainers[1].step()
            trainers[0].zero_grad()
            F.softplus(-critic(fake)).mean().backward()
            row |= {
                f"maker.{n}": p.grad.double().norm().item() for n, p in maker.named_parameters()
            }
            trainers[0].step()
            rows.append(row)
    run = isograd.load(watch.run)
    assert len(run.steps) == STEPS
    for name in rows[0]:
        assert run.series(name, "grad_norm") == pytest.approx([r[name] for r in rows], rel=1e-5)
    training = watch.diagnosis().training
    assert training is not None
    assert training.clip_ratio == pytest.approx([1.0] * STEPS, rel=1e-5)


def test_gradients_too_faint_or_too_large_for_single_precision(tmp_path):
    """Squares leave float32 below 1e-19 and above 1e19; the norms do not."""
    model = nn.ParameterList([torch.ones(50), torch.ones(50), torch.ones(50)])
    trainer = torch.optim.SGD(model.parameters(), lr=0.0)
    sizes = (1e-27, 1e25, 1.0)
    with isograd.watch(model, trainer, run=tmp_path / "run", budget=None) as watch:
        for _ in range(3):
            trainer.zero_grad()
            sum((p * s).sum() for p, s in zip(model, sizes, strict=True)).backward()
            trainer.step()
    run = isograd.load(watch.run)
    for name, size in zip(run.parameters, sizes, strict=True):
        assert run.series(name, "grad_norm") == pytest.approx([size * 50**0.5] * 3, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_other_types_of_numbers(dtype, tmp_path):
    torch.manual_seed(0)
    model = net().to(dtype)
    truth = Truth(model)
    trainer = torch.optim.SGD(model.parameters(), lr=0.1)
    with isograd.watch(model, trainer, run=tmp_path / "run", budget=None) as watch:
        for _ in range(4):
            trainer.zero_grad()
            x, y = batch()
            loss = F.cross_entropy(model(x.to(dtype)), y)
            loss.backward()
            truth.raw(loss)
            truth.stepped()
            trainer.step()
            truth.done()
    agrees(truth, watch.run, 1e-6)


def test_sparse_gradients(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.EmbeddingBag(9, 5, sparse=True, mode="sum"), nn.Linear(5, 3))
    truth = Truth(model)
    trainer = torch.optim.SGD(model.parameters(), lr=0.1)
    with isograd.watch(model, trainer, run=tmp_path / "run", budget=None) as watch:
        for _ in range(4):
            trainer.zero_grad()
            loss = F.cross_entropy(model(torch.randint(0, 9, (8, 3))), torch.randint(0, 3, (8,)))
            loss.backward()
            truth.raw(loss)
            truth.stepped()
            trainer.step()
            truth.done()
    assert watch.failed == ""
    agrees(truth, watch.run)


@pytest.mark.parametrize("make", LOOPS, ids=lambda make: make.__name__)
def test_rows_that_are_made_together_are_the_same(make, tmp_path, monkeypatch):
    """The cheap tier alone, five steps at a time; closures have to be taken one by one."""
    from isograd.monitor import watch_rests as monitor
    from isograd.monitor.brisk import Brisk

    together = []
    drain = Brisk.drain
    monkeypatch.setattr(monitor, "together", lambda bare: 5)
    monkeypatch.setattr("isograd.monitor.recorder.LOOKS", 0)
    monkeypatch.setattr(Brisk, "drain", lambda self: together.append(drain(self)) or together[-1])
    torch.manual_seed(0)
    model = net()
    truth = Truth(model)
    trainer, iteration = make(model, truth)
    with isograd.watch(model, trainer, run=tmp_path / "run", budget=None) as watch:
        monkeypatch.setattr(watch.governor, "due", lambda kind: kind == "light")
        watch.governor.bare = 1e-3  # so that it need not be found first
        for _ in range(STEPS):
            iteration()
    assert watch.failed == ""
    run = isograd.load(watch.run)
    assert list(run.steps) == list(range(STEPS))
    sizes = [len(rows) for rows in together]
    assert sizes[:1] == ([] if make in (closure, lbfgs) else [5])
    for at, row in enumerate(truth.rows):
        assert run.scalars["loss"][at] == pytest.approx(row["loss"], rel=1e-5)
        assert run.scalars["stepped_norm"][at] == pytest.approx(
            math.hypot(*row["stepped"].values()), rel=1e-5
        )
        for name, value in row["raw"].items():
            if make not in (clipped_by_hand, clamped):  # which only a full record sees
                assert run.series(name, "grad_norm")[at] == pytest.approx(value, rel=1e-4)
