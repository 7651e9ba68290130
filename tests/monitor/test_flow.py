"""Samples that see each other, and sizes of what flows into a model."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isograd
from isograd.monitor.flow import Flow
from isograd.monitor.inflow import Inflow
from isograd.monitor.leak import sample_leak

LOSSES = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")


@pytest.fixture(autouse=True)
def _restored():
    torch.manual_seed(0)
    kept = {name: getattr(F, name) for name in LOSSES}
    backward = torch.autograd.backward
    yield
    for name, function in kept.items():
        setattr(F, name, function)
    torch.autograd.backward = backward


def patched():
    """Names of what differs from torch's own."""
    left = [n for n in LOSSES if getattr(F, n).__code__.co_filename != F.__file__]
    own = torch.autograd.backward.__module__ == "torch.autograd"
    return left + ([] if own else ["backward"])


class Mixing(nn.Module):
    """One linear layer and something that may mix samples."""

    def __init__(self, mix):
        super().__init__()
        self.layer, self.mix = nn.Linear(6, 5), mix

    def forward(self, x):
        return self.mix(self.layer(x))


class Runs(nn.Module):
    """An LSTM that takes the first dimension for time, which holds the batch."""

    def __init__(self, batch_first):
        super().__init__()
        self.lstm = nn.LSTM(6, 5, batch_first=batch_first)

    def forward(self, x):
        return self.lstm(x)[0]


def leak(model, *shape):
    x = torch.randn(*shape)
    return sample_leak(model, lambda m: m(x).square().mean())


def test_an_mlp_leaks_nothing_also_with_batch_norm_and_dropout():
    assert leak(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)), 12, 6) == 0
    noisy = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    noisy(torch.randn(12, 6))
    before = copy.deepcopy(noisy.state_dict())
    assert leak(noisy.eval(), 12, 6) == 0
    assert not noisy.training
    assert all(torch.equal(v, noisy.state_dict()[k]) for k, v in before.items())
    assert leak(noisy.train(), 12, 6) == 0
    assert noisy.training


@pytest.mark.parametrize(
    "mix",
    [
        lambda h: h.softmax(0),
        lambda h: h - h.mean(0),
        lambda h: h / h.norm(),
        lambda h: (h @ h.T).softmax(1) @ h,
        lambda h: h.cumsum(0),
        lambda h: h.flip(0).cumsum(0),
    ],
)
def test_every_sample_is_reached_by_what_runs_over_dimension_zero(mix):
    assert leak(Mixing(mix), 12, 6) == 1


@pytest.mark.parametrize("size", [4, 8, 9])
def test_an_lstm_run_over_the_batch_leaks_whole_and_over_time_not_at_all(size):
    assert leak(Runs(batch_first=False), size, 7, 6) == 1
    assert leak(Runs(batch_first=True), size, 7, 6) == 0


def test_a_leak_between_neighbours_is_the_share_of_samples_with_one_in_the_other_half():
    # Sample i reads sample i - 1: of samples 6..11 only the first has its neighbour replaced.
    def mix(h):
        return h + torch.cat([torch.zeros_like(h[:1]), h[:-1]])

    assert leak(Mixing(mix), 12, 6) == pytest.approx(1 / 6)


def test_without_a_call_with_a_batch_the_leak_is_not_known():
    model = Mixing(torch.tanh)
    assert leak(model, 3, 6) is None
    assert sample_leak(model, lambda m: m.layer.weight.square().sum()) is None
    assert sample_leak(model, lambda m: m(None)) is None
    assert leak(Mixing(torch.Tensor.sum), 12, 6) is None
    assert not model._forward_pre_hooks


def test_a_step_that_fails_after_the_model_ran_still_tells_the_leak():
    def step(model):
        model(torch.randn(8, 6))
        raise KeyError

    assert sample_leak(Mixing(lambda h: h - h.mean(0)), step) == 1


def test_functional_losses_are_restored_on_close_also_after_an_exception():
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with isograd.watch(model, optimizer, budget=None):
        assert patched() == [*LOSSES, "backward"]
    assert patched() == []
    with (
        pytest.raises(RuntimeError, match="Mismatch"),
        isograd.watch(model, optimizer, budget=None),
    ):
        model(torch.randn(3, 4)).backward(torch.ones(3, 2, 2))
    assert patched() == []
    hooks = torch.nn.modules.module._global_forward_pre_hooks
    assert len(hooks) == 0


def test_a_wrapper_that_somebody_put_on_meanwhile_stays():
    inflow = Inflow(nn.Linear(4, 2))
    inflow.open()
    inner = F.mse_loss
    theirs = F.mse_loss = lambda *args: inner(*args)
    inflow.close()
    assert F.mse_loss is theirs
    assert F.mse_loss(torch.ones(3), torch.zeros(3)) == 1
    assert inflow.taken() == (0, 0)  # closed: it no longer looks


@pytest.mark.parametrize(
    "order",
    [(1, 0), (0, 1)],
)
def test_nested_watches_each_see_their_own_model_and_leave_nothing(order):
    first, second = nn.Linear(4, 2), nn.Linear(3, 2)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (first, second)]
    with isograd.watch(first, optimizers[0], budget=None) as a:
        with isograd.watch(second, optimizers[1], budget=None) as b:
            for model, size, value in ((first, 4, 2.0), (second, 3, 5.0)):
                loss = F.mse_loss(model(torch.full((6, size), value)), torch.full((6, 2), 7.0))
                loss.backward()
            for number in order:
                optimizers[number].step()
        assert patched() == [*LOSSES, "backward"]
    assert patched() == []
    assert (a.failed, b.failed) == ("", "")
    assert a.diagnosis().training.inputs == (2,)
    assert b.diagnosis().training.inputs == (5,)
    assert a.diagnosis().training.targets == (7,)


def test_watches_closed_in_the_order_of_opening_leave_nothing():
    a, b = Inflow(nn.Linear(4, 2)), Inflow(nn.Linear(4, 2))
    a.open()
    b.open()
    a.close()
    b.close()
    assert patched() == []


def test_a_watch_that_is_opened_again_sees_inputs_again():
    model = nn.Linear(4, 2)
    inflow = Inflow(model)
    for _ in range(2):
        inflow.open()
        model(torch.full((3, 4), 2.0))
        inflow.close()
        assert inflow.taken() == (2, 0)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(6, 5), nn.ReLU()),
        nn.LSTM(6, 5),
    ],
    ids=["linear", "lstm"],
)
def test_a_model_can_be_copied_and_pickled_while_a_watch_is_open(model):
    optimizer = torch.optim.Adam(model.parameters())
    x = torch.randn(3, 2, 6)

    def out(module):
        value = module(x)
        return value[0] if isinstance(value, tuple) else value

    with isograd.watch(model, optimizer, budget=None) as watch:
        for _ in range(2):
            copies = (copy.deepcopy(model), pickle.loads(pickle.dumps(model)))
            assert all(torch.equal(out(c), out(model)) for c in copies)
            copy.deepcopy(optimizer)
            out(model).square().mean().backward()
            optimizer.step()
    assert watch.failed == ""
    assert set(vars(copies[0])) == set(vars(copies[1])) == set(vars(model))


def test_flow_reads_inputs_by_position_and_name_and_the_target_of_the_loss():
    model = Mixing(torch.tanh)
    flow = Flow(model)
    with flow.following():
        out = model(x=torch.full((3, 6), 2.0))
        F.mse_loss(out, torch.full((3, 5), -4.0))
        (out - torch.full((3, 5), 6.0)).square()
    assert flow.stepped() == (2, 6)
    assert flow.stepped() == (0, 0)
    with pytest.raises(KeyError), flow.following():
        raise KeyError
    assert not model._forward_pre_hooks
    assert not model._forward_hooks
