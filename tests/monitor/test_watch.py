"""A watched training is the same training, and what is seen is what happened."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isograd


def loop(model, optimizer, steps, *, clip=None, accumulate=1):
    """An ordinary training loop; returns its losses."""
    generator = torch.Generator().manual_seed(3)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        for _ in range(accumulate):
            x = torch.randn(16, 8, generator=generator)
            y = torch.randint(0, 4, (16,), generator=generator)
            loss = F.cross_entropy(model(x), y) / accumulate
            loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        losses.append(loss.item())
    return losses


def case():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(8, 16), nn.ReLU(inplace=True), nn.Dropout(0.1), nn.Linear(16, 4)
    )
    return model, torch.optim.Adam(model.parameters(), lr=1e-2)


def test_losses_and_weights_are_bit_identical():
    bare, trainer = case()
    torch.manual_seed(1)
    expected = loop(bare, trainer, 12)
    watched, trainer = case()
    torch.manual_seed(1)
    with isograd.watch(watched, trainer) as watch:
        losses = loop(watched, trainer, 12)
    assert losses == expected
    assert all(map(torch.equal, watched.parameters(), bare.parameters()))
    assert watch.failed == ""


def test_records_norms_of_gradient_update_and_weight():
    model, _ = case()
    trainer = torch.optim.SGD(model.parameters(), lr=0.5)
    before = copy.deepcopy(model)
    with isograd.watch(model, trainer, budget=None) as watch:
        losses = loop(model, trainer, 1)
    training = watch.diagnosis().training
    assert training is not None
    assert training.loss == pytest.approx(losses, rel=1e-6)
    for name, parameter in model.named_parameters():
        track = training.parameters[name]
        moved = (parameter - before.get_parameter(name)).double().norm().item()
        assert track.update[0] == pytest.approx(moved, rel=1e-5)
        assert track.update[0] == pytest.approx(0.5 * track.gradient[0], rel=1e-5)
        assert track.weight[0] == pytest.approx(before.get_parameter(name).norm().item(), rel=1e-5)


def test_sees_accumulation_and_clipping():
    model, _ = case()
    trainer = torch.optim.SGD(model.parameters(), lr=0.1)
    with isograd.watch(model, trainer, budget=None) as watch:
        loop(model, trainer, 3, clip=1e-3, accumulate=4)
    training = watch.diagnosis().training
    assert training is not None
    assert training.backwards == (4, 4, 4)
    assert max(training.clip_ratio) < 0.1


def test_leaves_nothing_behind():
    model, trainer = case()
    backward = torch.autograd.backward
    with isograd.watch(model, trainer, budget=None):
        loop(model, trainer, 2)
    assert torch.autograd.backward is backward
    assert not trainer._optimizer_step_pre_hooks
    assert not trainer._optimizer_step_post_hooks
    assert torch.overrides._get_current_function_mode_stack() == []
    assert not any(p._backward_hooks for p in model.parameters())


def test_an_exception_in_the_loop_closes_the_watch():
    model, trainer = case()

    def interrupted():
        with isograd.watch(model, trainer, budget=None):
            loop(model, trainer, 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert torch.overrides._get_current_function_mode_stack() == []


def test_an_own_error_is_one_warning(monkeypatch):
    from isograd.capture import sighting

    def broken(*args, **kwargs):
        raise KeyError("ours")

    monkeypatch.setattr(sighting, "assemble", broken)
    model, trainer = case()
    with (
        pytest.warns(UserWarning, match="not affected"),
        isograd.watch(model, trainer, budget=None) as watch,
    ):
        losses = loop(model, trainer, 3)
    assert len(losses) == 3
    assert "KeyError" in watch.failed


def test_diagnosis_before_any_step_says_so():
    model, trainer = case()
    with (
        isograd.watch(model, trainer, budget=None) as watch,
        pytest.raises(RuntimeError, match="no backward"),
    ):
        watch.diagnosis()
