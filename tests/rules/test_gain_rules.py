"""Rules on the factors of the gradient and of the signal: G107 to G112, and G201 in loops."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isograd
from isograd.rules import g108_rank_collapse, g110_narrow, g112_forward
from rules.trained import adam, alarms, checked, classes, classified, explained, net, sgd


class Exp(nn.Module):
    def forward(self, x):
        return x.exp()


def unfit(activation):
    return lambda: nn.Sequential(
        nn.Linear(8, 32), activation(), nn.Linear(32, 32), activation(), nn.Linear(32, 3)
    )


@pytest.mark.parametrize(
    ("activation", "rate"), [(lambda: nn.Softmax(1), 0.05), (Exp, 0.5)], ids=["softmax", "exp"]
)
def test_a_softmax_or_an_exponential_between_layers(activation, rate):
    found = checked(classified(unfit(activation), lambda m: sgd(m, rate)))
    assert found[0] == ("G107", "activation-derivative")


def test_a_mixture_that_learns_is_explained():
    trained = classified(lambda: net(activation=lambda: nn.Softmax(1)), lambda m: adam(m, 0.1))
    diagnosis = isograd.check(*trained, steps=50)
    assert alarms(diagnosis) == []
    assert "G107" in explained(diagnosis)


def test_a_softmax_at_the_output_is_quiet():
    x, y = classes()
    model = net().append(nn.Softmax(1))
    loss = lambda m: F.nll_loss(m(x).log(), y)  # noqa: E731
    diagnosis = isograd.check(model, loss, adam(model), steps=50)
    assert alarms(diagnosis) == []
    assert "G107" not in explained(diagnosis)


class Attend(nn.Module):
    """Pre-norm attention, with or without the skip path around it."""

    def __init__(self, skip):
        super().__init__()
        self.norm, self.qkv, self.skip = nn.LayerNorm(16), nn.Linear(16, 48), skip

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        out = F.scaled_dot_product_attention(q, k, v)
        return x + out if self.skip else out


def attending(skip, depth=6):
    torch.manual_seed(0)
    x = torch.randn(16, 8, 16)
    y = (x[:, :, 0] > 0).long().flatten()
    model = nn.Sequential(*(Attend(skip) for _ in range(depth)), nn.Linear(16, 2))
    return model, lambda m: F.cross_entropy(m(x).flatten(0, 1), y), adam(model, 0.003)


def test_tokens_become_alike_without_skip_paths(monkeypatch):
    diagnosis = isograd.check(*attending(False)[:2])
    assert alarms(diagnosis)[0] == ("G108", "rank-collapse")
    assert "tokens become alike" in diagnosis.findings[0].title
    monkeypatch.setattr(g108_rank_collapse, "ALIKE", 1e-9)
    assert "G108" not in dict(alarms(isograd.check(*attending(False)[:2])))


@pytest.mark.parametrize("steps", [0, 20])
def test_tokens_stay_apart_in_a_healthy_transformer(steps):
    assert checked(attending(True), steps) == []


def normed(norm, scale=1.0, bias=0.0, width=16):
    nn.init.constant_(norm.bias, bias)

    def build():
        return nn.Sequential(nn.Linear(8, width, bias=False), norm, nn.ReLU(), nn.Linear(width, 3))

    return classified(build, lambda m: sgd(m, 0.1), scale)


ERASING = {
    "a norm over one entry": (lambda: normed(nn.LayerNorm(1), width=1), True),
    "eps above the variance": (lambda: normed(nn.LayerNorm(16), 1e-6, 0.5), True),
    "eps below the variance": (lambda: normed(nn.LayerNorm(16, eps=1e-16), 1e-6, 0.5), False),
    "a norm over the layer": (lambda: normed(nn.LayerNorm(16)), False),
    "a norm over groups": (lambda: normed(nn.GroupNorm(4, 16)), False),
}


@pytest.mark.parametrize("name", ERASING)
def test_a_norm_that_erases_its_input(name):
    build, alarm = ERASING[name]
    found = checked(build(), 30)
    assert (found[:1] == [("G109", "normalization")]) is alarm
    assert ("G109" in dict(found)) is alarm


def test_a_norm_whose_gain_starts_at_zero_is_no_alarm():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.norm = nn.Linear(8, 8), nn.LayerNorm(8)
            nn.init.zeros_(self.norm.weight)

        def forward(self, x):
            return x + self.norm(self.layer(x).relu())

    def build():
        return nn.Sequential(nn.Linear(8, 8), Branch(), Branch(), nn.Linear(8, 3))

    assert checked(classified(build), 40) == []


def stacked(width, depth, gain, activation=nn.Tanh, rate=0.01):
    def build():
        layers = []
        for i in range(depth):
            layer = nn.Linear(width if i else 8, width)
            nn.init.normal_(layer.weight, std=gain / layer.in_features**0.5)
            nn.init.zeros_(layer.bias)
            layers += [layer, activation()]
        return nn.Sequential(*layers, nn.Linear(width, 3))

    return classified(build, lambda m: sgd(m, rate))


def test_a_net_too_narrow_for_its_depth(monkeypatch):
    narrow = stacked(3, 17, 1.0)
    assert alarms(isograd.check(*narrow[:2]))[0] == ("G110", "weight-scale")
    assert checked(narrow, 20)[0] == ("G110", "weight-scale")
    monkeypatch.setattr(g110_narrow, "DECADES", 2.0)
    assert "G110" not in dict(alarms(isograd.check(*narrow[:2])))


def test_a_wide_net_of_the_same_depth_is_not_too_narrow():
    assert alarms(isograd.check(*stacked(32, 17, 1.0)[:2])) == []


class Block(nn.Module):
    """A residual block with its norm on the trunk, in the branch, or without one."""

    def __init__(self, norm, gain, scale=1.0):
        super().__init__()
        self.layer, self.where, self.scale = nn.Linear(16, 16), norm, scale
        self.norm = nn.LayerNorm(16) if norm else nn.Identity()
        nn.init.normal_(self.layer.weight, std=gain / 4)

    def forward(self, x):
        if self.where == "trunk":
            return self.norm(x + self.layer(x).relu())
        return x + self.scale * self.layer(self.norm(x)).relu()


def residual(norm, gain, rate, blocks=14, scale=1.0, optimizer=sgd):
    def build():
        body = [Block(norm, gain, scale) for _ in range(blocks)]
        return nn.Sequential(nn.Linear(8, 16), *body, nn.Linear(16, 3))

    return classified(build, lambda m: optimizer(m, rate))


def test_norms_on_the_trunk_of_a_net_that_does_not_learn():
    assert checked(residual("trunk", 2.0, 0.003), 12)[0] == ("G111", "normalization")


@pytest.mark.parametrize(("norm", "blocks"), [("branch", 14), ("trunk", 4)])
def test_norms_in_the_branch_or_on_a_short_trunk(norm, blocks):
    assert checked(residual(norm, 1.4, 0.003, blocks, optimizer=adam), 20) == []


def test_a_residual_net_of_unit_branches_explodes_forward(monkeypatch):
    trained = residual("", 2**0.5, 0.01, 20)
    found = checked(trained, 20)
    assert ("G112", "residual-scale") in found
    monkeypatch.setattr(g112_forward, "DECADES", 30.0)
    assert "G112" not in dict(checked(trained, 20))


def test_a_signal_that_dies_out():
    found = checked(stacked(32, 10, 0.3, nn.ReLU), 20)
    assert ("G112", "weight-scale") in found


@pytest.mark.parametrize(
    "build",
    [
        lambda: residual("", 2**0.5, 0.05, 14, 0.19),
        lambda: stacked(32, 10, 2**0.5, nn.ReLU, 0.1),
    ],
    ids=["scaled branches", "fitting weights"],
)
def test_a_signal_that_keeps_its_size(build):
    assert checked(build(), 30) == []


class Loop(nn.Module):
    """A recurrent net by hand that answers after its last step."""

    def __init__(self, gain):
        super().__init__()
        self.cell, self.head = nn.RNNCell(4, 16), nn.Linear(16, 2)
        nn.init.orthogonal_(self.cell.weight_hh, gain)

    def forward(self, x):
        h = x.new_zeros(x.shape[0], 16)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
        return self.head(h)


def looped(gain, asked, rate=0.05):
    """Training on the sign of the input at step `asked`."""
    torch.manual_seed(0)
    x = 0.5 * torch.randn(64, 14, 4)
    y = (x[:, asked, 0] > 0).long()
    model = Loop(gain)
    return model, lambda m: F.cross_entropy(m(x), y), sgd(model, rate)


def test_a_loop_by_hand_whose_gradient_vanishes():
    diagnosis = isograd.check(*looped(0.3, 0), steps=12)
    assert alarms(diagnosis)[0] == ("G201", "recurrence")
    assert diagnosis.findings[0].where == ("cell",)


def test_a_loop_by_hand_that_answers_from_its_last_step_is_explained():
    diagnosis = isograd.check(*looped(0.3, -1, 0.5), steps=30)
    assert alarms(diagnosis) == []
    assert "G201" in explained(diagnosis)


def test_a_loop_by_hand_with_an_orthogonal_weight_keeps_its_gradient():
    assert "G201" not in explained(isograd.check(*looped(1.0, 0)[:2]))
    assert "G201" not in dict(checked(looped(1.0, 0), 12))


@pytest.mark.parametrize(("eps", "alarm"), [(1e-6, False), (1e6, True)])
def test_a_norm_that_is_written_out_is_judged_by_its_output(eps, alarm):
    """The mean square of small features is far below 1e-3; what the norm gives out is not."""

    class RootMeanSquareNorm(nn.Module):
        def forward(self, x):
            return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16), RootMeanSquareNorm(), nn.Linear(16, 4))
    nn.init.normal_(model[0].weight, std=0.005)
    nn.init.zeros_(model[0].bias)
    x, y = torch.randn(64, 16), torch.randint(4, (64,))
    diagnosis = isograd.check(model, lambda m: nn.functional.cross_entropy(m(x), y))
    assert ("G109" in {f.code for f in diagnosis.findings if f.alarm}) is alarm
