"""Players that work against each other: a cut between them is no fault."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

import isograd
from isograd.records.training import Replay, Training
from isograd.rules import g503_detached_inside
from isograd.rules.case import Case
from rules.trained import adam, classes, net


class Players(nn.Module):
    def __init__(self):
        super().__init__()
        self.maker = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
        self.judge = nn.Sequential(
            nn.Linear(2, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2)
        )
        self.last = nn.Linear(64, 1)

    def forward(self, z, real):
        made = self.maker(z)
        return [self.last(self.judge(x)) for x in (real, made.detach(), made)]


def played(saturating):
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(1)
    one, zero = torch.ones(64, 1), torch.zeros(64, 1)

    def step(m):
        real = 3 + 0.2 * torch.randn(64, 2, generator=g)
        a, b, c = m(torch.randn(64, 4, generator=g), real)
        judge = F.binary_cross_entropy_with_logits(a, one)
        judge = judge + F.binary_cross_entropy_with_logits(b, zero)
        fooled = F.binary_cross_entropy_with_logits(c, zero if saturating else one)
        return judge - fooled if saturating else judge + fooled

    model = Players()
    return model, step, adam(model)


def fell_without_the_cut(snapshot):
    falling = tuple(1.4 - 0.02 * i for i in range(50))
    training = Training((1.4,) * 50, (0.01,) * 50, {}, replays=(Replay("detach", falling),))
    return list(g503_detached_inside.check(Case(snapshot, training)))


def test_a_cut_between_two_players_is_no_fault():
    for saturating in (True, False):
        model, step, _ = played(saturating)
        snapshot = isograd.probe(model, step)
        assert Case(snapshot).game
        assert not fell_without_the_cut(snapshot)


def test_the_same_cut_in_front_of_labels_that_differ_is_one():
    torch.manual_seed(0)
    model, y = Players(), (torch.rand(64, 1) > 0.5).float()
    z, real = torch.randn(64, 4), torch.randn(64, 2)
    snapshot = isograd.probe(
        model, lambda m: F.binary_cross_entropy_with_logits(m(z, real)[0] + m(z, real)[1], y)
    )
    assert [f.cause for f in fell_without_the_cut(snapshot)] == ["graph-cut"]


def test_labels_that_differ_within_a_call_are_no_game():
    x, y = classes()
    snapshot = isograd.probe(net(), lambda m: F.cross_entropy(m(x), y))
    assert not Case(snapshot).game
