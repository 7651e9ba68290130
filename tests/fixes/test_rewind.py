"""What a step keeps is found, put back and seeded."""

import collections
import functools
import random

import numpy as np
import pytest
import torch

from isograd.fixes.rewind import Rewind

COUNTER = 0


def counting():
    global COUNTER
    COUNTER += 1
    return COUNTER


class Loader:
    def __init__(self):
        self.generator = np.random.default_rng(3)
        self.at = 0

    def draw(self, _=None):
        self.at += 1
        return self.at, float(self.generator.random())


def closure():
    generator, count, seen = torch.Generator().manual_seed(4), 0, []

    def step(_=None):
        nonlocal count
        count += 1
        seen.append(count)
        return count, len(seen), torch.rand(1, generator=generator).item()

    return step


def legacy():
    state = np.random.RandomState(1)
    return lambda _=None: state.rand()


def python():
    return functools.partial(random.Random(2).random)


def queue():
    waiting = collections.deque(range(5))
    return lambda _=None: waiting.popleft()


MAKERS = [closure, lambda: Loader().draw, legacy, python, lambda: counting, queue]


@pytest.mark.parametrize("make", MAKERS)
def test_a_step_repeats_after_restore(make):
    step = make()
    step()
    rewind = Rewind(step)
    first = [step(), step()]
    rewind.restore()
    assert [step(), step()] == first


@pytest.mark.parametrize("make", [closure, lambda: Loader().draw, legacy, python])
def test_generators_are_seeded(make):
    step = make()
    rewind = Rewind(step)

    def drawn(seed):
        rewind.restore()
        rewind.seed(seed)
        return step()

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_global_generators_are_restored():
    rewind = Rewind(None)
    first = torch.rand(1).item(), random.random(), np.random.rand()
    rewind.seed(9)
    rewind.restore()
    assert (torch.rand(1).item(), random.random(), np.random.rand()) == first
