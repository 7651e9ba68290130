"""G104 in a loop whose state runs off: the recurrence is named, not the function it floods."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isograd
from rules.trained import adam, classes


class Euler(nn.Module):
    """Explicit steps of dh/dt = u + tanh(f(h)) - k h; they grow where step times k passes 2."""

    def __init__(self, stiffness: float) -> None:
        super().__init__()
        self.inp, self.f, self.out = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 3)
        self.register_buffer("k", torch.full((16,), stiffness))

    def forward(self, x):
        h = u = self.inp(x)
        for _ in range(24):
            h = h + 0.1 * (u + self.f(h).tanh() - self.k * h)
        return self.out(h)


@pytest.mark.parametrize(("stiffness", "named"), [(30.0, True), (4.0, False)])
def test_explicit_steps_that_are_too_coarse(stiffness, named):
    torch.manual_seed(0)
    x, y = classes()
    model = Euler(stiffness)
    step = lambda m: F.cross_entropy(m(x), y)  # noqa: E731
    found = isograd.check(model, step, adam(model), 15).findings
    flat = [f.cause for f in found if f.code == "G104"]
    assert flat == (["recurrence"] if named else [])
