"""What findings say of factors that were made neutral on the same batch."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import isograd
from isograd.records import Diagnosis
from isograd.records.neutral import Neutral
from isograd.reporters.language import translate
from isograd.rules.case import Case
from isograd.rules.neutral import decided

CHINESE = re.compile(r"[一-鿿]")


def deep(activation, gain, norm=None, depth=8, width=64):
    torch.manual_seed(0)
    layers = []
    for _ in range(depth):
        layer = nn.Linear(width, width)
        nn.init.normal_(layer.weight, std=gain / width**0.5)
        layers += [layer, *([norm(width)] if norm else []), activation()]
    return nn.Sequential(*layers, nn.Linear(width, 4))


def checked(model):
    x, y = torch.randn(32, 64), torch.randint(4, (32,))
    return isograd.check(model, lambda model: F.cross_entropy(model(x), y))


def found(diagnosis, code):
    return next(finding for finding in diagnosis.findings if finding.code == code)


def caused(finding):
    rows = [row for row in finding.evidence if row.name.startswith("decades caused by")]
    return {row.name.removeprefix("decades caused by "): row.value for row in rows}


def test_one_cause_says_its_measured_share():
    diagnosis = checked(deep(nn.ReLU, 0.3))
    finding = found(diagnosis, "G101")
    assert finding.cause == "weight-scale"
    assert "most of it by weights" in finding.title
    total = finding.evidence[0].value
    assert caused(finding).keys() == {"weights"}
    assert caused(finding)["weights"] == pytest.approx(total, rel=0.1)
    said = "same batch with weights made neutral: "
    assert any(note.startswith(said) for note in diagnosis.notes)


def test_two_causes_are_both_said():
    finding = found(checked(deep(nn.Sigmoid, 0.3)), "G101")
    assert finding.title.endswith("by both activation derivative and weights")
    shares = caused(finding)
    assert shares.keys() == {"activation derivative", "weights"}
    # They multiply, so that together they are the whole of it.
    assert sum(shares.values()) == pytest.approx(finding.evidence[0].value, rel=0.05)


def test_a_norm_that_undoes_large_weights_is_no_cause():
    finding = found(checked(deep(nn.Sigmoid, 3.0, norm=nn.LayerNorm)), "G101")
    assert finding.title.endswith("most of it by activation derivative")
    assert caused(finding).keys() == {"activation derivative"}


class Attending(nn.Module):
    def __init__(self, scale):
        super().__init__()
        torch.manual_seed(0)
        self.q, self.k, self.v = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.scale = scale

    def forward(self, x):
        logits = (self.q(x) @ self.k(x).transpose(-1, -2)) * self.scale
        return torch.softmax(logits, -1) @ self.v(x)


def test_collapsed_attention_says_what_its_logits_cost():
    x = torch.randn(4, 8, 16)
    diagnosis = isograd.check(Attending(30.0), lambda m: m(x).square().mean())
    finding = found(diagnosis, "G106")
    row = finding.evidence[-1]
    assert row.name == "decades at queries and keys caused by its logits"
    assert CHINESE.search(translate(row.name, "zh"))
    (kept,) = [r for r in diagnosis.snapshot.neutral if r.where]
    # What a net gets whose logits are divided by their spread in the forward pass.
    with torch.no_grad():
        model = Attending(30.0)
        logits = 30.0 * model.q(x) @ model.k(x).transpose(-1, -2)
        spread = float((logits - logits.mean(-1, keepdim=True)).square().mean().sqrt())
    calm = isograd.probe(Attending(30.0 / spread), lambda m: m(x).square().mean())
    stats = next(op.attention for op in calm.ops if op.attention is not None)
    assert kept.decades - kept.base == pytest.approx(-row.value)
    assert kept.decades == pytest.approx(
        math.log10(math.hypot(stats.gain_q, stats.gain_k)), abs=1e-4
    )


def test_dead_units_say_how_many_decades_they_cost():
    torch.manual_seed(0)
    layers = [m for _ in range(4) for m in (nn.Linear(64, 64), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(64, 4))
    for layer in model[::2]:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    with torch.no_grad():
        model[4].bias[:58] = -20.0
    finding = found(checked(model), "G103")
    assert finding.cause == "dead-units"
    # Six units of 64 pass something, where weights are drawn for every second entry to pass.
    assert caused(finding)["activation derivative"] < math.log10(math.sqrt(6 / 64))


def test_every_text_is_in_chinese_too():
    for model in (deep(nn.Sigmoid, 0.3), deep(nn.ReLU, 9.0), deep(nn.Tanh, 12.0)):
        diagnosis = checked(model)
        for note in diagnosis.notes:
            assert not re.search("[a-z]{4}", translate(note, "zh"))
        for finding in diagnosis.findings:
            assert CHINESE.search(translate(finding.title, "zh"))
            for row in finding.evidence:
                for text in (row.name, row.how):
                    if "sqrt(5" not in text and re.search("[a-z]{4}", text):
                        assert CHINESE.search(translate(text, "zh")), text


def test_it_travels_as_json():
    diagnosis = checked(deep(nn.Sigmoid, 0.3))
    assert diagnosis.snapshot.neutral
    again = Diagnosis.from_dict(diagnosis.to_dict())
    assert again.snapshot.neutral == diagnosis.snapshot.neutral


@pytest.fixture(scope="module")
def snapshot():
    return replace(checked(deep(nn.Sigmoid, 0.3)).snapshot, neutral=())


def judged(snapshot, kind, **left):
    """Decided with a symptom of -10 decades and what is left of it without each factor."""
    rows = tuple(Neutral(name, "neutral", -10.0, value, 1) for name, value in left.items())
    return decided(Case(replace(snapshot, neutral=rows)), kind)


def test_the_cause_is_the_factor_without_which_the_symptom_goes(snapshot):
    assert judged(snapshot, "activation", activation=-1.0, weight=-9.0) == ("activation", None)
    # The symptom stays without the one that the accounts blame, and goes without another.
    assert judged(snapshot, "activation", activation=-9.0, weight=-1.0) == ("weight", None)
    # Or turns around.
    assert judged(snapshot, "activation", activation=15.0, weight=-1.0) == ("weight", None)
    # Neither goes: the accounts stand.
    assert judged(snapshot, "activation", activation=-9.0, weight=-8.0) == ("activation", None)


def test_a_second_cause_takes_a_third_of_it_away(snapshot):
    assert judged(snapshot, "activation", activation=-5.0, weight=-6.0) == ("activation", "weight")
    assert judged(snapshot, "weight", activation=-6.0, weight=-5.0) == ("weight", "activation")
    assert judged(snapshot, "activation", activation=-4.0, weight=-7.0) == ("activation", None)


def test_without_a_proof_the_accounts_stand(snapshot):
    assert judged(snapshot, "activation") == ("activation", None)
    assert judged(snapshot, "residual", weight=-1.0) == ("residual", None)
