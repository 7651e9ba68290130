"""Gradient through time of handwritten loops against autograd at exposed states."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isograd
from isograd.rules.loops import STEPS, handwritten

# Norms of float64 vectors of some hundred entries, and ratios of two of them.
EXACT = 1e-9
T, N, UNITS = 12, 16, 6
# The first call reads no state of the loop, the second is where the loop is recognised, and what
# the third reads is the first state of the track: that after step 2 of 1..T.
FIRST = 1


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


class Loop(nn.Module):
    """Runs `cell` over time and keeps the states of the latest run."""

    def __init__(self, factor=1.0, every=False, steps=T):
        super().__init__()
        self.inner = nn.Linear(UNITS, UNITS, bias=False, dtype=torch.float64)
        self.head = nn.Linear(UNITS, 1)
        self.factor, self.every, self.steps = factor, every, steps
        nn.init.orthogonal_(self.inner.weight)
        self.states = []

    def cell(self, x, h):
        return self.factor * self.inner(h) + x

    def forward(self, x):
        h = torch.zeros(len(x), UNITS, dtype=x.dtype)
        self.states, outs = [], []
        for step in range(self.steps):
            h = self.cell(x[:, step], h)
            self.states.append(h)
            outs.append(self.head(h))
        return torch.stack(outs if self.every else outs[-1:], 1)


def tracks(model, steps=T):
    """Tracks of a probe, with the states' total gradients by autograd."""
    model = model.double()
    x = torch.randn(N, steps, UNITS).double()
    y = torch.randn(N, steps if model.every else 1, 1).double()

    def step(twin):
        return F.mse_loss(twin(x), y)

    snapshot = isograd.probe(model, step)
    loss = step(model)
    totals = torch.autograd.grad(loss, model.states, retain_graph=True)
    return handwritten(snapshot), loss, model.states, [float(g.norm()) for g in totals]


def brute(states, totals):
    """Norm that each step sends back to the state before it / norm that arrives at it."""
    gains = []
    for before, after in pairwise(states):
        arrives = totals[id(after)]
        (back,) = torch.autograd.grad(after, before, arrives, retain_graph=True)
        gains.append(float(back.norm() / arrives.norm()))
    return gains


def gains_by_hand(loss, states):
    gradients = torch.autograd.grad(loss, states, retain_graph=True)
    return brute(states, {id(s): g for s, g in zip(states, gradients, strict=True)})


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("factor", [0.5, 1.0, 1.5])
def test_gain_of_each_step_with_an_orthogonal_weight_is_the_factor(factor, every):
    (track,), *_ = tracks(Loop(factor, every))
    assert track.gains == pytest.approx([factor] * (T - 3), rel=EXACT)
    assert (track.module, track.direction) == ("inner", "forward")


@pytest.mark.parametrize("every", [False, True])
def test_norms_are_those_of_the_states_total_gradients(every):
    (track,), _, _, norms = tracks(Loop(0.8, every))
    assert track.norms == pytest.approx(norms[FIRST:-1], rel=EXACT)


class Elman(Loop):
    def __init__(self, every):
        super().__init__(every=every)
        self.inner = nn.RNNCell(UNITS, UNITS)

    def cell(self, x, h):
        return self.inner(x, h)


class Gated(Elman):
    def __init__(self, every):
        super().__init__(every)
        self.inner = nn.GRUCell(UNITS, UNITS)


class Tanh(Loop):
    def cell(self, x, h):
        return torch.tanh(self.inner(h) + x)


class Skipping(Loop):
    def cell(self, x, h):
        return h + 0.05 * torch.tanh(self.inner(h) + x)


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        Elman,
        lambda every: Tanh(every=every),
        pytest.param(
            Gated,
            marks=pytest.mark.xfail(
                reason="a cell op that reads its state in two nodes leaves two terms; one is taken"
            ),
        ),
        pytest.param(
            lambda every: Skipping(every=every),
            marks=pytest.mark.xfail(
                reason="only the term through the weight counts, not the way around it"
            ),
        ),
    ],
    ids=["RNNCell", "tanh", "GRUCell", "residual"],
)
def test_gains_of_a_cell_are_those_of_autograd(make, every):
    (track,), loss, states, norms = tracks(make(every))
    expected = gains_by_hand(loss, states)
    assert track.gains == pytest.approx(expected[FIRST:-1], rel=EXACT)
    assert track.norms == pytest.approx(norms[FIRST:-1], rel=EXACT)


def test_recurrent_part_of_a_norm_is_the_gain_times_the_next_norm():
    # With a loss at the last step only, nothing else arrives at an earlier state.
    (track,), *_ = tracks(Elman(every=False))
    for (now, after), gain in zip(pairwise(track.norms), track.gains, strict=True):
        assert now == pytest.approx(gain * after, rel=EXACT)


def test_short_loops_and_stacks_of_layers_are_not_time():
    found, *_ = tracks(Loop(steps=STEPS + 1), steps=STEPS + 1)
    assert found == []  # one state short of a track
    found, *_ = tracks(Loop(steps=STEPS + 2), steps=STEPS + 2)
    assert len(found) == 1
    layers = [m for _ in range(12) for m in (nn.Linear(UNITS, UNITS), nn.Tanh())]
    snapshot = isograd.probe(nn.Sequential(*layers), lambda m: m(torch.randn(4, UNITS)).sum())
    assert handwritten(snapshot) == []


def test_a_weight_that_is_called_on_each_input_is_no_loop():
    layer = nn.Linear(UNITS, UNITS)
    x = torch.randn(T, 4, UNITS)
    snapshot = isograd.probe(layer, lambda m: sum(m(part).square().mean() for part in x))
    assert handwritten(snapshot) == []


def test_two_loops_are_two_tracks_with_their_own_gains():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.slow, self.fast = Loop(0.9), Loop(0.5)

        def forward(self, x):
            return self.slow(x) + self.fast(x)

    model, x = Both().double(), torch.randn(N, T, UNITS).double()
    found = handwritten(isograd.probe(model, lambda m: m(x).square().mean()))
    gains = {track.module: track.gains for track in found}
    assert gains["slow.inner"] == pytest.approx([0.9] * (T - 3), rel=EXACT)
    assert gains["fast.inner"] == pytest.approx([0.5] * (T - 3), rel=EXACT)


def test_a_zero_weight_gives_gains_of_exactly_zero():
    model = Loop(every=True)
    nn.init.zeros_(model.inner.weight)
    (track,), *_ = tracks(model)
    assert track.gains == (0,) * (T - 3)
