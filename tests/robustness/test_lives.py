"""Models and optimizers that change, travel, fail and end while somebody watches."""

from __future__ import annotations

import copy
import gc
import io
import os
import pickle
import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

import isograd


def net():
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 3))


def train(model, trainer, steps, after=lambda: None):
    for _ in range(steps):
        x, y = torch.randn(8, 6), torch.randint(0, 3, (8,))
        trainer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        trainer.step()
        after()


def seen(watch, name, statistic="grad_norm"):
    return np.nan_to_num(isograd.load(watch.run).series(name, statistic), nan=0.0) > 0


def test_layers_frozen_and_unfrozen_on_the_way(tmp_path):
    torch.manual_seed(0)
    model = net()
    model[0].requires_grad_(False)
    trainer = torch.optim.Adam(model.parameters(), lr=1e-2)
    with isograd.watch(model, trainer, run=tmp_path / "run", budget=None) as watch:
        train(model, trainer, 30)
        model[0].requires_grad_(True)
        train(model, trainer, 30)
        model[2].requires_grad_(False)
        train(model, trainer, 30)
    assert watch.failed == ""
    thirds = [slice(0, 30), slice(30, 60), slice(60, 90)]
    assert [seen(watch, "0.weight")[t].all() for t in thirds] == [False, True, True]
    assert [seen(watch, "2.weight")[t].all() for t in thirds] == [True, True, False]
    assert seen(watch, "0.weight", "update_norm")[31:].all()
    # More gradient because more of it is there is no jump.
    assert [alarm.name for alarm in watch.alarms] == []
    assert "0.weight" in watch.diagnosis().training.parameters


def test_parameters_and_groups_that_come_later(tmp_path):
    torch.manual_seed(0)
    model = net()
    trainer = torch.optim.SGD(model.parameters(), lr=0.1)
    with isograd.watch(model, trainer, run=tmp_path / "run", budget=None) as watch:
        train(model, trainer, 5)
        model.append(nn.Linear(3, 3))
        trainer.add_param_group({"params": model[3].parameters(), "lr": 0.01})
        train(model, trainer, 5)
    assert watch.failed == ""
    run = isograd.load(watch.run)
    assert "3.weight" in run.parameters
    assert seen(watch, "3.weight").tolist() == [False] * 5 + [True] * 5
    assert seen(watch, "3.weight", "update_norm").tolist() == [False] * 5 + [True] * 5
    assert seen(watch, "0.weight").all()


def test_a_layer_that_is_replaced_with_its_optimizer(tmp_path):
    """Fine-tuning in two stages: a new head, and a new optimizer for everything."""
    torch.manual_seed(0)
    model = net()
    trainer = torch.optim.SGD(model.parameters(), lr=0.1)
    with isograd.watch(model, trainer, run=tmp_path / "run", budget=None) as watch:
        train(model, trainer, 5)
        model[2] = nn.Linear(12, 3)
        for _ in range(3):
            trainer = torch.optim.SGD(model.parameters(), lr=0.1)
            train(model, trainer, 5)
    assert watch.failed == ""
    assert watch.steps == 20
    assert seen(watch, "2.weight").all()
    assert len(watch._optimizers) == 1


def test_lazy_layers(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.LazyLinear(12), nn.Tanh(), nn.LazyLinear(3))
    trainer = torch.optim.SGD(model.parameters(), lr=0.1)
    with isograd.watch(model, trainer, run=tmp_path / "run", budget=None) as watch:
        train(model, trainer, 5)
    assert watch.failed == ""
    assert seen(watch, "0.weight").all()


def test_a_shared_weight_counts_once(tmp_path):
    torch.manual_seed(0)
    inner = nn.Linear(6, 6)
    model = nn.Sequential(inner, nn.Tanh(), inner, nn.Tanh(), nn.Linear(6, 3))
    trainer = torch.optim.SGD(model.parameters(), lr=0.1)
    norms = []

    with isograd.watch(model, trainer, run=tmp_path / "run", budget=None) as watch:
        train(model, trainer, 5, lambda: norms.append(inner.weight.grad.norm().item()))
    run = isograd.load(watch.run)
    assert [n for n in run.parameters if n.startswith(("0.", "2."))] == ["0.weight", "0.bias"]
    assert run.series("0.weight", "grad_norm") == pytest.approx(norms, rel=1e-5)


@pytest.mark.parametrize("recurrent", [False, True], ids=["plain", "lstm"])
def test_copies_pickles_and_checkpoints_at_every_step(recurrent):
    torch.manual_seed(0)
    model = nn.LSTM(6, 3) if recurrent else net()
    trainer = torch.optim.Adam(model.parameters(), lr=1e-2)
    average = torch.optim.swa_utils.AveragedModel(model)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(trainer, 10)

    def out(module, x):
        value = module(x)
        return value[0] if recurrent else value

    with isograd.watch(model, trainer, budget=None) as watch:
        for _ in range(4):
            x = torch.randn(8, 6)
            copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
            file = io.BytesIO()
            torch.save({"model": model, "state": model.state_dict(), "opt": trainer}, file)
            file.seek(0)
            loaded = torch.load(file, weights_only=False)
            trainer.load_state_dict(copy.deepcopy(trainer).state_dict())
            out(model, x).square().mean().backward()
            trainer.step()
            trainer.zero_grad()
            scheduler.step()
            average.update_parameters(model)
            fresh = torch.optim.SGD(copies[0].parameters(), lr=0.1)
            out(copies[0], x).sum().backward()  # a copy is no part of this training
            fresh.step()
            assert all(map(torch.equal, loaded["model"].parameters(), copies[1].parameters()))
    assert watch.failed == ""
    assert watch.steps == 4
    assert set(vars(copies[0])) == set(vars(model))


def test_a_model_watched_anew_ends_the_older_watch(tmp_path):
    model = net()
    trainer = torch.optim.SGD(model.parameters(), lr=0.1)
    first = isograd.watch(model, trainer, run=tmp_path / "run")
    train(model, trainer, 3)
    second = isograd.watch(model, trainer, run=tmp_path / "run")
    train(model, trainer, 4)
    assert (first.steps, second.steps) == (3, 4)
    assert first.run != second.run
    assert isograd.load(first.run).verdict
    second.close()
    second.close()
    assert not trainer._optimizer_step_pre_hooks
    assert not model._forward_pre_hooks


def test_two_models_are_watched_side_by_side():
    models = [net(), net()]
    trainers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in models]
    watches = [isograd.watch(m, budget=None) for m in models]
    backward = torch.autograd.backward
    for model, trainer, steps in zip(models, trainers, (3, 5), strict=True):
        train(model, trainer, steps)
    for watch in watches:  # in the order they were opened: not a stack
        watch.close()
    assert [watch.steps for watch in watches] == [3, 5]
    assert torch.autograd.backward is not backward


def test_the_backward_pass_of_another_net_is_not_ours(tmp_path):
    """A critic that nobody watches trains in between, and another one is watched."""
    torch.manual_seed(0)
    models = [net() for _ in range(3)]
    trainers = [torch.optim.SGD(m.parameters(), lr=0.01) for m in models]
    watches = [
        isograd.watch(m, run=tmp_path / "run", budget=b)
        for m, b in zip(models, (None, 0.0), strict=False)
    ]
    losses = [[] for _ in models]
    for _ in range(40):
        for model, trainer, seen in zip(models, trainers, losses, strict=True):
            trainer.zero_grad()
            loss = F.cross_entropy(model(torch.randn(8, 6)), torch.randint(0, 3, (8,)))
            loss.backward()
            seen.append(loss.item())
        for trainer in trainers:
            trainer.step()
    for watch, expected in zip(watches, losses[:2], strict=True):
        watch.close()
        training = watch._recorder.training()
        assert watch.steps == 40
        assert training.loss == pytest.approx(expected, rel=1e-6)
        assert set(training.backwards) == {1}


@pytest.mark.parametrize("where", ["forward", "backward", "step"])
def test_an_error_that_the_loop_survives(where, tmp_path):
    """Out of memory, for instance: the batch is left out, or tried again in halves."""

    class Odd(nn.Module):
        broken = ""

        def forward(self, x):
            if self.broken == "forward":
                raise MemoryError
            out = x * 1.0
            if self.broken == "backward":
                out.register_hook(lambda _: 1 / 0)
            return out

    class Sometimes(torch.optim.SGD):
        def step(self, closure=None):
            if odd.broken == "step":
                raise ValueError
            return super().step(closure)

    torch.manual_seed(0)
    odd = Odd()
    model = nn.Sequential(nn.Linear(6, 12), odd, nn.Linear(12, 3))
    trainer = Sometimes(model.parameters(), lr=0.1)
    survived = 0
    with isograd.watch(model, trainer, run=tmp_path / "run", budget=None) as watch:
        for at in range(12):
            odd.broken = where if at in (0, 3, 4, 10) else ""
            try:
                train(model, trainer, 1)
            except (MemoryError, ZeroDivisionError, ValueError):
                survived += 1
                trainer.zero_grad()
    assert survived == 4
    assert watch.failed == ""
    assert seen(watch, "0.weight", "update_norm").sum() == 8
    assert torch.overrides._get_current_function_mode_stack() == []
    assert watch.diagnosis().training.loss


class Numbers(Dataset):
    """Says of each item whether the worker's torch calls run under somebody's mode."""

    def __len__(self):
        return 8

    def __getitem__(self, at):
        modes = len(torch.overrides._get_current_function_mode_stack())
        return torch.full((6,), float(at)).mul(1.0), modes


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_data_loader_workers_are_left_alone(context, tmp_path):
    if context == "fork" and not hasattr(os, "fork"):
        pytest.skip("no fork here")
    torch.manual_seed(0)
    model = net()
    trainer = torch.optim.SGD(model.parameters(), lr=0.01)
    with isograd.watch(model, trainer, run=tmp_path / "run", budget=None) as watch:
        for x, modes in DataLoader(
            Numbers(), batch_size=4, num_workers=1, multiprocessing_context=context
        ):
            assert modes.tolist() == [0] * 4
            trainer.zero_grad()
            model(x).square().mean().backward()
            trainer.step()
    assert watch.failed == ""
    assert watch.steps == 2
    assert list(isograd.load(watch.run).steps) == [0, 1]


@pytest.mark.parametrize("budget", [0.01, None])
def test_nothing_of_a_step_is_kept(budget, tmp_path):
    """Neither tensors nor graphs pile up, and the last step's activations go."""
    torch.manual_seed(0)
    model = net()
    trainer = torch.optim.Adam(model.parameters(), lr=1e-3)
    latest = []
    model[1].register_forward_hook(lambda m, a, out: latest.append(weakref.ref(out)))

    def tensors():
        gc.collect()
        return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())

    with isograd.watch(model, trainer, run=tmp_path / "run", budget=budget) as watch:
        train(model, trainer, 120)
        before = tensors()
        train(model, trainer, 200)
        after = tensors()
        train(model, trainer, 1)
        gc.collect()
        alive = sum(ref() is not None for ref in latest)
    assert watch.failed == ""
    assert after <= before + 2
    assert alive <= 20  # taped batches of the start, at most


@pytest.mark.parametrize("trouble", ["deleted", "read only", "full"])
def test_trouble_on_the_disk_is_one_warning(trouble, tmp_path, monkeypatch):
    import errno
    import shutil

    torch.manual_seed(0)
    model = net()
    trainer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = isograd.watch(model, trainer, run=tmp_path / "run", budget=None)
    train(model, trainer, 3)

    def no_space(*args, **kwargs):
        raise OSError(errno.ENOSPC if trouble == "full" else errno.EROFS, "trouble")

    def go_on():
        if trouble == "deleted":
            shutil.rmtree(watch.run)
        else:
            monkeypatch.setattr(os, "write", no_space)
            monkeypatch.setattr(os, "writev", no_space, raising=False)
        train(model, trainer, 20)
        watch.close()

    with pytest.warns(RuntimeWarning) as told:
        go_on()
    assert len(told) == 1, [str(w.message) for w in told]
    assert watch.failed == ""
    assert watch.steps == 23
    assert len(watch.diagnosis().training.loss) == 23


def test_a_directory_that_cannot_be_made_is_one_warning(tmp_path):
    (tmp_path / "file").write_text("")
    model = net()
    trainer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.warns(RuntimeWarning) as told:
        watch = isograd.watch(model, trainer, run=tmp_path / "file" / "run")
    train(model, trainer, 5)
    watch.close()
    assert len(told) == 1, [str(w.message) for w in told]
    assert watch.steps == 5


PLACES = [
    "pulse.Pulse.before_step",
    "recorder.Recorder.begin_step",
    "recorder.Recorder.after_step",
    "recorder.Recorder.saw_backward",
    "recorder.Recorder.before_backward",
    "recorder.Recorder.adopted",
    "alarms.Alarms.saw",
    "journal.Journal.row",
    "measuring.Measuring.next_step",
    "inflow.Inflow.taken",
    "inflow.Inflow._called",
    "scaling.Clip.__init__",
    "taping.Taping.cut",
    "governor.Governor.stepped",
]


@pytest.mark.parametrize("place", PLACES)
def test_an_error_of_our_own_is_one_warning_and_the_same_training(place, tmp_path, monkeypatch):
    def losses(watched):
        torch.manual_seed(0)
        model = net()
        trainer = torch.optim.Adam(model.parameters(), lr=1e-2)
        out = []

        def loop():
            for _ in range(6):
                trainer.zero_grad()
                loss = F.cross_entropy(model(torch.randn(8, 6)), torch.randint(0, 3, (8,)))
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 0.1)
                trainer.step()
                out.append(loss.item())

        if not watched:
            loop()
            return out, None
        with isograd.watch(model, run=tmp_path / "run", budget=None) as watch:
            loop()
        return out, watch

    expected, _ = losses(watched=False)
    module, kind, name = place.split(".")
    target = getattr(__import__(f"isograd.monitor.{module}", fromlist=[kind]), kind)

    def broken(*args, **kwargs):
        raise KeyError("ours")

    monkeypatch.setattr(target, name, broken)
    with pytest.warns(UserWarning, match="not affected") as told:
        got, watch = losses(watched=True)
    assert len(told) == 1
    assert "ours" in watch.failed
    assert got == expected
    assert torch.overrides._get_current_function_mode_stack() == []


def test_a_step_that_calls_its_parents_step_is_one(tmp_path):
    class Mine(torch.optim.SGD):
        def step(self, closure=None):
            out = super().step(closure)
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.data.mul_(0.99)
            return out

    torch.manual_seed(0)
    model = net()
    trainer = Mine(model.parameters(), lr=0.1)
    start = model[0].weight.detach().clone()
    first = []
    with isograd.watch(model, trainer, run=tmp_path / "run", budget=None) as watch:
        train(model, trainer, 5, lambda: first.append((model[0].weight - start).norm().item()))
    run = isograd.load(watch.run)
    assert watch.steps == len(run.steps) == 5
    assert run.series("0.weight", "update_norm")[0] == pytest.approx(first[0], rel=1e-5)
    with isograd.watch(model, trainer, budget=0.0) as watch:  # dozes all the time
        train(model, trainer, 60)
    assert watch.steps == 60


TAGGED = [
    "tagger.Tagger._note",
    "tagger.Tagger._inputs_of",
    "backward.NormLedger.add",
    "fused.FusedLayers._before",
    "sighting.Sighting.aim",
    "sighting.Sighting.take",
]


@pytest.mark.parametrize("place", TAGGED)
def test_an_error_while_a_step_is_measured_stays_with_us(place, monkeypatch):
    module, kind, name = place.split(".")
    home = __import__(f"isograd.capture.{module}", fromlist=[kind])

    def broken(*args, **kwargs):
        raise KeyError("ours")

    monkeypatch.setattr(getattr(home, kind), name, broken)
    torch.manual_seed(0)
    model = nn.LSTM(6, 3)
    trainer = torch.optim.Adam(model.parameters(), lr=1e-2)
    watch = isograd.watch(model, trainer)

    def loop():
        for _ in range(3):
            model(torch.randn(8, 6))[0].square().mean().backward()
            trainer.step()

    with pytest.warns(UserWarning, match="not affected"):
        loop()
    watch.close()
    assert "ours" in watch.failed
    assert torch.overrides._get_current_function_mode_stack() == []
