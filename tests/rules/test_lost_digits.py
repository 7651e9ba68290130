"""G608: integers that wrap around and phases that are rounded away, in batches' preparation."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isograd
from isograd.monitor.digits import digits
from rules.trained import adam, alarms


def looked(prepare):
    """What is seen of a preparation of a batch."""
    return digits(nn.Linear(1, 1), lambda m: m(prepare().float().reshape(-1, 1)).mean()).lost


class Clock(nn.Module):
    """Sine and cosine of the time of the period, in which the start is taken off or not."""

    def __init__(self, early: bool) -> None:
        super().__init__()
        self.net, self.early = nn.Sequential(nn.Linear(2, 24), nn.Tanh(), nn.Linear(24, 1)), early

    def forward(self, x):
        now = x[:, 0] + 1.7e9
        now = (now % 60).float() if self.early else now.float() % 60
        turn = now / 60 * 2 * math.pi
        return self.net(torch.stack([turn.sin(), turn.cos()], 1))


def clock(early):
    torch.manual_seed(0)
    x = torch.rand(256, 1, dtype=torch.float64) * 6e5
    y = ((x + 1.7e9) % 60 / 60 * 2 * math.pi).sin().float()
    model = Clock(early)
    return isograd.check(model, lambda m: F.mse_loss(m(x), y), adam(model, 0.02), 40)


def test_a_time_stamp_in_float32():
    diagnosis = clock(early=False)
    assert alarms(diagnosis)[0] == ("G608", "precision")
    finding = next(f for f in diagnosis.findings if f.code == "G608")
    # 1.7e9 lies between 2**30 and 2**31, where floats are 128 apart.
    assert finding.evidence[0].value == pytest.approx(128 / 60)
    assert "test_lost_digits.py" in str(finding.source)
    assert alarms(clock(early=True)) == []


def frames(prepare):
    torch.manual_seed(0)
    a = torch.randint(60, 200, (256, 8))
    d = (12 * torch.randn(256, 8)).round()
    x, y = torch.stack([a, a + d], 1).to(torch.uint8), (d[:, 0] > 0).long()
    model = nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 2))
    return isograd.check(model, lambda m: F.cross_entropy(m(prepare(x)), y), adam(model, 0.01), 20)


def test_a_difference_of_bytes():
    wrong = frames(lambda x: (x[:, 1] - x[:, 0]).float() / 255)
    assert alarms(wrong)[0] == ("G608", "precision")
    assert alarms(frames(lambda x: (x[:, 1].float() - x[:, 0].float()) / 12)) == []


@pytest.mark.parametrize(
    ("prepare", "kinds"),
    [
        (lambda: torch.tensor([200], dtype=torch.uint8) + 55, []),
        (lambda: torch.tensor([200], dtype=torch.uint8) + 56, ["wraps"]),
        (lambda: torch.tensor([3], dtype=torch.uint8) - 4, ["difference"]),
        (lambda: torch.tensor([2**31 - 1], dtype=torch.int32) * 3, ["wraps"]),
        (lambda: torch.tensor([2.0**20]).sin(), []),
        (lambda: torch.tensor([2.0**22]).sin(), ["phase"]),
        (lambda: torch.tensor([2.0**22]).double().sin(), []),
        (lambda: torch.tensor([1.7e9]) % 1e5, []),
        (lambda: torch.tensor([1.7e9]) % 1e3, ["phase"]),
    ],
)
def test_where_digits_go(prepare, kinds):
    assert [key[0] for key in looked(prepare)] == kinds


def test_a_hash_that_is_an_index_is_no_number():
    table = torch.arange(256.0)
    seen = looked(lambda: table[(torch.arange(9, dtype=torch.uint8) - 4).long()])
    assert [key[0] for key in seen] == ["wraps"]
