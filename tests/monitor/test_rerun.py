"""A loop's start, written on tapes and run again on a copy."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._C import _len_torch_function_stack

import isograd
from isograd.monitor.governor import Governor
from isograd.monitor.rerun import Rerun
from isograd.monitor.taping import BATCHES, Taping


def net(width=8):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, 3))


def batch(seed=0, size=16):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(size, 6, generator=g), torch.randint(3, (size,), generator=g)


BATCHED = [batch(i) for i in range(64)]


def plain(model, x, y):
    return F.cross_entropy(model(x), y)


def by_hand(model, x, y):
    logits = model((x - x.mean(0)) / 2)
    return -(logits.log_softmax(1)[torch.arange(len(y)), y]).mean()


def with_penalty(model, x, y):
    return plain(model, x, y) + 0.01 * sum(p.square().sum() for p in model.parameters())


def part_by_part(model, x, y):
    return F.cross_entropy(model[2](model[1](model[0](x))), y)


def twice(model, x, y):
    return ((model(x) - model(x + 1).detach()) ** 2).mean()


def writes(model, x, y):
    mask = torch.ones(len(x), 6)
    mask[:, 0] = 0
    x = x * mask
    x += 1
    return plain(model, x, y)


def criterion_module(model, x, y):
    return nn.CrossEntropyLoss(label_smoothing=0.1)(model(x), y)


LOSSES = [plain, by_hand, with_penalty, part_by_part, twice, writes, criterion_module]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda f: f.__name__)
def test_a_tape_gives_the_loss_of_other_weights(loss):
    model, x, y = net(), *batch()
    taping = Taping(model)
    taping.open()
    value = loss(model, x, y)
    taping.cut(value)
    taping.close()
    other = copy.deepcopy(model)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(1.3)
    want = loss(other, x, y)
    for _ in range(2):  # and again: playing changes nothing
        got = taping.tapes[0].play(other, {})
        assert torch.equal(got, want)
    gradients = torch.autograd.grad(got, list(other.parameters()))
    for got_g, want_g in zip(
        gradients, torch.autograd.grad(want, list(other.parameters())), strict=True
    ):
        assert torch.equal(got_g, want_g)
    assert _len_torch_function_stack() == 0


def test_what_the_loss_does_not_need_is_not_kept():
    model, x, y = net(), *batch()
    taping = Taping(model)
    taping.open()
    with torch.no_grad():
        model(torch.randn(1000, 6)).argmax(1)
    taping.cut(plain(model, x, y))
    taping.close()
    assert [e.call if isinstance(e.call, str) else e.call.__name__ for e in
            taping.tapes[0].entries.values()] == ["", "cross_entropy"]  # fmt: skip


def test_the_batch_may_be_overwritten_afterwards():
    model, x, y = net(), *batch()
    taping = Taping(model)
    taping.open()
    want = plain(model, x, y)
    taping.cut(want)
    taping.close()
    x.zero_()
    assert torch.equal(taping.tapes[0].play(model, {}), want)


def test_the_users_generator_does_not_move():
    model = net()
    g = torch.Generator().manual_seed(3)
    taping = Taping(model)
    taping.open()
    x = torch.randn(16, 6, generator=g)
    taping.cut(model(x).square().mean())
    taping.close()
    before = g.get_state()
    taping.tapes[0].play(model, {})
    assert torch.equal(g.get_state(), before)


class _Mystery(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g * 2


def test_a_history_that_was_not_seen_makes_no_tape():
    model, x, y = net(), *batch()
    taping = Taping(model)
    taping.open()
    more = taping.cut(plain(lambda v: _Mystery.apply(model(v)), x, y))
    taping.close()
    assert not more
    assert not taping.tapes


def loop(model, optimizer, steps, scale=1.0, clip=None, parts=1, data=BATCHED.__getitem__):
    losses = []
    for i in range(steps):
        optimizer.zero_grad()
        for _ in range(parts):
            loss = plain(model, *(scale * v if v.is_floating_point() else v for v in data(i)))
            (loss / parts).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(
    "options", [{}, {"clip": 0.1}, {"parts": 3}], ids=["plain", "clip", "parts"]
)
def test_the_copy_does_what_the_loop_did(options):
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    with isograd.watch(model, optimizer, budget=None) as watch:
        losses = loop(model, optimizer, BATCHES, **options)
    seen = watch._recorder.training("", watch.snapshot)
    again = watch._rerun.training(seen, watch._measuring.first)
    assert again is not None
    for name, track in seen.parameters.items():
        assert again.parameters[name].gradient[:3] == pytest.approx(track.gradient[:3], rel=1e-4)
    if not options:
        assert list(again.loss[:5]) == pytest.approx(losses[:5], rel=1e-6)


def test_a_watched_loop_that_fails_is_replayed():
    model = net(32)
    optimizer = torch.optim.SGD(model.parameters(), 1e-7)
    w = torch.randn(6, 3)
    batches = [(x, (x @ w).argmax(1)) for x, _ in (batch(i, 256) for i in range(60))]
    with isograd.watch(model, optimizer, budget=None) as watch:
        loop(model, optimizer, 60, data=batches.__getitem__)
    first = watch.diagnosis().findings[0]
    assert first.code == "G303"
    assert first.title.startswith("learning rate too low")


def test_losses_and_weights_stay_bit_identical():
    finals = []
    for watched in (False, True):
        model = net()
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        if watched:
            with isograd.watch(model, optimizer, budget=None):
                losses = loop(model, optimizer, 30)
        else:
            losses = loop(model, optimizer, 30)
        finals.append((losses, [p.clone() for p in model.parameters()]))
    assert finals[0][0] == finals[1][0]
    assert all(torch.equal(a, b) for a, b in zip(finals[0][1], finals[1][1], strict=True))
    assert _len_torch_function_stack() == 0


def test_a_model_that_cannot_be_copied_is_watched_without():
    class Stubborn(nn.Linear):
        def __deepcopy__(self, memo):
            raise RuntimeError("no copies")

    model = nn.Sequential(Stubborn(6, 3))
    rerun = Rerun(model, [torch.optim.SGD(model.parameters(), 0.1)])
    rerun.open()
    rerun.stepped(Governor(None))
    rerun.close()
    assert rerun.uses(model) is None


def test_a_raising_forward_leaves_nothing_behind():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    call = nn.Module.__call__
    with pytest.raises(RuntimeError), isograd.watch(model, optimizer, budget=None):
        model(torch.randn(2, 5))
    assert nn.Module.__call__ is call
    assert _len_torch_function_stack() == 0
