"""A watched training that breaks at a step that was not kept."""

import pytest
import torch
from torch import nn

import isograd


def watched(*, bad, rate=1e-3, error=False, steps=40):
    """A loop that divides by zero at step `bad`, with no budget to keep a step."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = torch.optim.SGD(model.parameters(), rate)
    x = torch.randn(64, 8)
    watch = isograd.watch(model, optimizer, budget=0)
    try:
        for step in range(steps):
            out = model(x)
            loss = (out / (step != bad) - x[:, :1]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            if error and not torch.isfinite(loss):
                raise ValueError(f"loss is {loss}")
            optimizer.step()
    except ValueError as stop:
        watch.saw_error(stop)
    watch.close()
    return watch.diagnosis()


@pytest.mark.parametrize("error", [False, True])
def test_a_break_in_calm_is_no_divergence_and_not_healthy(error):
    alarms = [f for f in watched(bad=30, error=error).findings if f.alarm]
    assert [(f.code, f.cause, f.step) for f in alarms] == [("G607", "numerics", 30)]


def test_a_training_that_never_breaks_is_quiet():
    assert "G607" not in {f.code for f in watched(bad=-1).findings}


def test_a_runaway_is_laid_to_the_rate():
    codes = [f.code for f in watched(bad=-1, rate=30.0).findings if f.alarm]
    assert codes
    assert "G607" not in codes
