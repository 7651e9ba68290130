"""Use of the inputs: how far the loss rises when they are rolled against their targets."""

from __future__ import annotations

import math
from statistics import mean, variance

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from isograd.monitor import twins


class Counted:
    """A step that draws fresh batches and counts them.

    Args:
        noise: Standard deviation of what the targets hold beyond the inputs, relative to 1.
        scatter: Factor by which single batches differ in size.
    """

    def __init__(self, noise: float, scatter: float = 1.0) -> None:
        self.generator = torch.Generator().manual_seed(1)
        self.noise, self.scatter, self.calls = noise, scatter, 0

    def __call__(self, model: nn.Module) -> torch.Tensor:
        self.calls += 1
        x = torch.randn(64, 4, generator=self.generator)
        y = x[:, 0] + self.noise * torch.randn(64, generator=self.generator)
        size = self.scatter ** float(torch.rand((), generator=self.generator))
        return size * F.mse_loss(model(x).flatten(), y)


def knowing(share: float) -> nn.Linear:
    """A net that knows a share of the target."""
    model = nn.Linear(4, 1, bias=False)
    model.weight.data = torch.tensor([[share, 0.0, 0.0, 0.0]])
    return model


def test_the_statistic_is_welchs_over_the_batches():
    step, model = Counted(0.0), knowing(0.9)
    found = twins.input_use(model, step)
    assert step.calls == 2 * twins.DRAWS
    again, losses = Counted(0.0), ([], [])
    for _ in range(twins.DRAWS):
        for rolled in (0, 1):
            hook = twins._Roll(active=bool(rolled))
            handle = model.register_forward_pre_hook(hook, with_kwargs=True)
            losses[rolled].append(float(again(model).detach()))
            handle.remove()
    rise = mean(losses[1]) - mean(losses[0])
    error = math.sqrt(sum(variance(v) / twins.DRAWS for v in losses))
    assert found == pytest.approx(rise / error, rel=1e-9)


def test_batches_that_scatter_are_drawn_more_often(monkeypatch):
    """A net that explains a tenth of what scatters tenfold: too little for six batches."""
    step = Counted(1.0, scatter=10.0)
    assert twins.input_use(knowing(0.3), step) is not None
    assert 2 * twins.DRAWS < step.calls <= 2 * twins.SCATTERED_DRAWS
    monkeypatch.setattr(twins, "SCATTERED_DRAWS", twins.DRAWS)
    step = Counted(1.0, scatter=10.0)
    twins.input_use(knowing(0.3), step)
    assert step.calls == 2 * twins.DRAWS


def test_a_net_that_knows_nothing_stays_below_three_errors_however_often_it_is_asked():
    """A normal number is above 3 once in 700 times; five sets of batches are asked."""
    found = [
        twins.input_use(knowing(0.0), Counted(1.0, scatter=s)) for s in (1.0, 2.0, 3.0, 5.0, 10.0)
    ]
    assert all(abs(use) < 3 for use in found if use is not None)
