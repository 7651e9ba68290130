"""A watched training is bit for bit the training without the watch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isograd

STEPS = 60  # past the measurements of whole steps at 0, 10 and 50


def net(dropout=0.0):
    layers = [nn.Linear(8, 16), nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(16, 4)]
    return nn.Sequential(*layers)


def batch(generator):
    x = torch.randn(16, 8, generator=generator)
    return x, torch.randint(0, 4, (16,), generator=generator)


def adam():
    model = net(0.2)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(3)

    def iteration():
        x, y = batch(generator)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return model, optimizer, iteration


def lbfgs():
    model = net()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
    x, y = batch(torch.Generator().manual_seed(3))

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    return model, optimizer, lambda: optimizer.step(closure).item()


def accumulation():
    model = net(0.2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    generator = torch.Generator().manual_seed(3)

    def iteration():
        optimizer.zero_grad()
        total = 0.0
        for _ in range(4):
            x, y = batch(generator)
            loss = F.mse_loss(model(x), F.one_hot(y, 4).float()) / 4
            loss.backward()
            total += loss.item()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        return total

    return model, optimizer, iteration


def scaled():
    model = net(0.2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(3)
    # The first scales overflow float16, so that the scaler skips steps.
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24, growth_interval=10)

    def iteration():
        x, y = batch(generator)
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.float16):
            loss = F.cross_entropy(model(x).float(), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.item(), scaler.get_scale()

    return model, optimizer, iteration


def run(make, watched):
    torch.manual_seed(0)
    model, optimizer, iteration = make()
    torch.manual_seed(1)
    if not watched:
        return model, [iteration() for _ in range(STEPS)], torch.get_rng_state(), None
    with isograd.watch(model, optimizer) as watch:
        losses = [iteration() for _ in range(STEPS)]
    return model, losses, torch.get_rng_state(), watch


@pytest.mark.parametrize("make", [adam, lbfgs, accumulation, scaled])
def test_sixty_watched_steps_are_the_unwatched_ones_bit_for_bit(make):
    bare, expected, state, _ = run(make, watched=False)
    model, losses, after, watch = run(make, watched=True)
    assert losses == expected
    assert losses[0] != losses[-1]
    pairs = zip(model.parameters(), bare.parameters(), strict=True)
    assert all(torch.equal(a, b) and torch.equal(a.grad, b.grad) for a, b in pairs)
    assert torch.equal(after, state)
    # The watch was at work all the time, and left nothing on the model.
    assert watch.failed == ""
    training = watch.diagnosis().training
    taken = len(training.loss)
    assert taken == STEPS if make is not scaled else STEPS / 2 < taken < STEPS
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
