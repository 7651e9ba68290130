"""Which factor a gain fault is laid to: G101, G104, G106, G108, G109, G111."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isograd
from isograd.monitor.changes import Situation
from isograd.monitor.unsaturated import unsaturated
from isograd.records.training import Replay, Training
from isograd.rules import g101_vanishing, g104_saturation, g111_post_norm
from isograd.rules.case import Case
from rules.trained import adam, alarms, checked, classes, net, sgd


def saturated(weights=1.0, inputs=1.0, activation=nn.Tanh):
    """Three layers at Glorot's scale times `weights`, on data times `inputs`."""
    x, y = classes()
    layers = []
    for size in (8, 64, 64):
        layer = nn.Linear(size, 64)
        nn.init.xavier_normal_(layer.weight, weights)
        layers += [layer, activation()]
    model = nn.Sequential(*layers, nn.Linear(64, 3))
    return model, lambda m: F.cross_entropy(m(x * inputs), y), sgd(model)


def g104(trained):
    found = [f for f in isograd.check(*trained[:2]).findings if f.code == "G104"]
    return found[0] if found else None


def test_saturation_by_weights():
    finding = g104(saturated(weights=10.0))
    assert finding is not None
    assert finding.cause == "weight-scale"
    gain = next(e for e in finding.evidence if e.name.startswith("gain of"))
    # Glorot's variance 2 / (8 + 64) over 8 inputs of unit size, times 10.
    assert gain.value == pytest.approx(10 * (8 * 2 / 72) ** 0.5, rel=0.15)
    assert gain.threshold == g104_saturation.GAIN


def test_saturation_that_costs_is_proved_by_a_start_without_it():
    torch.manual_seed(0)
    model, _, _ = saturated(weights=30.0)
    x = torch.randn(256, 8)
    y = (x[:, 0] * x[:, 1] > 0).long()  # no sum of fixed features tells this
    step = lambda m: F.cross_entropy(m(x), y)  # noqa: E731
    diagnosis = isograd.check(model, step, adam(model), steps=50)
    finding = next(f for f in diagnosis.findings if f.code == "G104")
    shown = {e.name: e.value for e in finding.evidence}
    assert shown["loss with this changed"] < 0.8 * shown["loss as it stands"]


def test_a_gate_that_is_shut_or_open_costs_nothing():
    """A steep gate that sorts the samples: saturated by design, and learnt through."""

    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate, self.value = nn.Linear(8, 64), nn.Linear(8, 64)
            nn.init.normal_(self.gate.weight, std=4.0)
            self.head = nn.Linear(64, 3)

        def forward(self, x):
            return self.head(torch.sigmoid(self.gate(x)) * self.value(x))

    x, y = classes()
    model = Gated()
    step = lambda m: F.cross_entropy(m(x), y)  # noqa: E731
    alone = isograd.check(model, step)
    assert any(f.code == "G104" for f in alone.findings)  # nothing to ask
    diagnosis = isograd.check(model, step, adam(model), steps=50)
    assert diagnosis.training is not None
    assert any(r.change == "saturation" for r in diagnosis.training.replays)
    assert alarms(diagnosis) == []


@pytest.mark.parametrize(("end", "alarm"), [(2.0, True), (0.5, False)])
def test_a_start_without_saturation_that_is_thrown_up_proves_nothing(end, alarm):
    """It tells nothing against or for the flat part; a net below the constant answer is let be."""
    model, step, _ = saturated(weights=10.0)
    snapshot = isograd.check(model, step).snapshot
    assert snapshot.constant_loss is not None
    end *= snapshot.constant_loss
    fell = tuple(100 * (end / 100) ** (i / 30) for i in range(30)) + 20 * (end,)
    thrown = Replay("saturation", tuple(5.0 * 1.1**i for i in range(50)))
    later = Replay("longer", 50 * (0.3 * snapshot.constant_loss,))
    training = Training(fell, 50 * (0.1,), {}, replays=(later, thrown))
    found = list(g104_saturation.check(Case(snapshot, training)))
    assert bool(found) == alarm


def test_the_start_without_saturation_has_outputs_of_unit_size():
    model, step, _ = saturated(weights=10.0)
    start = isograd.probe(model, step)
    situation = Situation(model, None, start, Training((1.0,), {}, None), False)
    (change,) = unsaturated(situation)
    twin = copy.deepcopy(model)
    with change.entered(twin, sgd(twin)):
        for ours, theirs in zip(model, twin, strict=True):
            if isinstance(ours, nn.Linear) and ours is not model[-1]:
                op = next(
                    o for o in start.ops if o.kind == "weight" and o.module == name(model, ours)
                )
                ratio = (ours.weight / theirs.weight).detach()
                assert ratio.std() < 1e-5 * ratio.mean()
                assert float(ratio.mean()) == pytest.approx(op.output.rms, rel=1e-5)


def name(model, module):
    return next(path for path, each in model.named_modules() if each is module)


def test_saturation_by_data():
    finding = g104(saturated(inputs=300.0))
    assert finding is not None
    assert finding.cause == "input-scale"


def test_saturation_by_the_function_itself():
    class Flat(nn.Module):
        def forward(self, x):
            return torch.tanh(x * 20)

    finding = g104(saturated(activation=Flat))
    assert finding is not None
    assert finding.cause == "activation-derivative"


def test_unit_scale_is_quiet():
    assert g104(saturated()) is None


def deep(activation, depth=24):
    x, y = classes()
    layers = [m for i in range(depth) for m in (nn.Linear(64 if i else 8, 64), activation())]
    model = nn.Sequential(*layers, nn.Linear(64, 3))
    return model, lambda m: F.cross_entropy(m(x), y)


@pytest.mark.parametrize(
    ("activation", "cause"),
    [
        (nn.ReLU, "weight-scale"),
        (nn.GELU, "weight-scale"),
        (nn.SiLU, "weight-scale"),
        (nn.Sigmoid, "activation-derivative"),
    ],
)
def test_default_weights_of_a_deep_net_are_judged_by_what_its_function_needs(activation, cause):
    found = [f for f in isograd.check(*deep(activation)).findings if f.code == "G101"]
    assert [f.cause for f in found] == [cause]
    assert found[0].evidence[0].value < -g101_vanishing.DECADES


class Pooled(nn.Module):
    """Attention pooling with one query, written without a matrix product over tokens."""

    def __init__(self, factor):
        super().__init__()
        self.enter, self.query = nn.Linear(8, 16), nn.Parameter(torch.randn(16))
        self.head, self.factor = nn.Linear(16, 3), factor

    def forward(self, x):
        h = torch.tanh(self.enter(x))
        weights = (h @ self.query * self.factor).softmax(1)
        return self.head((weights[..., None] * h).sum(1))


def pooled(factor, learns):
    torch.manual_seed(0)
    x = torch.randn(64, 12, 8)
    y = (x[:, :, 0].mean(1) > 0).long() if learns else torch.randint(3, (64,))
    model = Pooled(factor)
    draw = torch.Generator().manual_seed(0)

    def step(m):
        shuffled = y if learns else y[torch.randperm(64, generator=draw)]
        return F.cross_entropy(m(x), shuffled)

    return model, step, sgd(model, 0.1)


def test_a_softmax_that_picks_one_place_where_nothing_is_learnt():
    assert dict(checked(pooled(1e4, False))).get("G106") == "attention-scale"


def test_the_same_softmax_spread_out_is_quiet():
    assert "G106" not in dict(checked(pooled(0.25, False)))


def test_a_group_norm_of_single_values_behind_a_pool():
    torch.manual_seed(0)
    x, y = torch.randn(64, 1, 8, 8), torch.arange(64) % 3

    def built(groups):
        model = nn.Sequential(
            nn.Conv2d(1, 12, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.GroupNorm(groups, 12),
            nn.Flatten(), nn.Linear(12, 3),
        )  # fmt: skip
        return model, lambda m: F.cross_entropy(m(x), y), adam(model)

    assert alarms(isograd.check(*built(12), 30))[0] == ("G109", "normalization")
    assert "G109" not in dict(checked(built(3), 30))


def smoothed(hops):
    """Two layers, each followed by averages over a graph; the whole graph at each step."""
    torch.manual_seed(0)
    nodes, labels = torch.randn(60, 8), torch.arange(60) % 3
    nodes[:, :3] += 2 * F.one_hot(labels, 3)
    near = (torch.rand(60, 60) < 0.2).float()
    near = near + near.T + torch.eye(60)
    near = near / near.sum(1, keepdim=True)

    class Smoothed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.head = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 3)

        def forward(self, x):
            for layer in (self.a, self.b):
                x = torch.relu(layer(x))
                for _ in range(hops):
                    x = near @ x
            return self.head(x)

    model = Smoothed()
    return model, lambda m: F.cross_entropy(m(nodes), labels), adam(model)


def test_nodes_of_a_whole_graph_that_become_alike():
    assert alarms(isograd.check(*smoothed(15), 40))[0] == ("G108", "rank-collapse")


class Post(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.a, self.b, self.norm = nn.Linear(24, 24), nn.Linear(24, 24), norm

    def forward(self, x):
        return self.norm(x + self.b(torch.relu(self.a(x))))


def post(norm):
    """Twenty branches of unit gain; with the norm behind each addition or without one."""
    x, y = classes()
    model = nn.Sequential(nn.Linear(8, 24), *(Post(norm()) for _ in range(30)), nn.Linear(24, 3))
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
    draw = torch.Generator().manual_seed(0)
    step = lambda m: F.cross_entropy(m(x), y[torch.randperm(96, generator=draw)])  # noqa: E731
    return model, step, sgd(model, 0.02)


def test_norms_on_the_trunk_of_a_net_that_learns_nothing(monkeypatch):
    diagnosis = isograd.check(*post(lambda: nn.LayerNorm(24)), 20)
    assert ("G111", "normalization") in alarms(diagnosis)
    monkeypatch.setattr(g111_post_norm, "DECADES", 100.0)
    assert "G111" not in dict(checked(post(lambda: nn.LayerNorm(24)), 20))


@pytest.mark.parametrize("rate", [0.3, 1e-6])
def test_a_head_that_starts_small_is_no_vanishing_gradient_once_it_has_grown(rate):
    torch.manual_seed(0)
    model = net()
    with torch.no_grad():
        model[2].weight.mul_(1e-4)
    x, y = classes()
    found = checked((model, lambda m: F.cross_entropy(m(x), y), sgd(model, rate)))
    assert any(code == "G101" for code, _ in found) == (rate < 0.1)
