"""The classic net against Nielsen's equations, written out in numpy."""

import math

import numpy as np
import pytest
import torch

from isograd.demo import classic, digits, remedies

RATE, LAMBDA, IMAGES = 0.1, 5.0, 1000


@pytest.fixture(scope="module")
def data():
    return digits.load(torch.float64)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def nielsen(weights, biases, x, y, steps):
    """Chapter 2, equations BP1 to BP4, with the cross-entropy cost of chapter 3.

    delta^L = a^L - y, delta^l = (w^{l+1}^T delta^{l+1}) * s'(z^l), dC/db = delta,
    dC/dw = delta a^{l-1}^T; mean over the images. Layers are columns, as in the book.
    """
    weights, biases = [w.copy() for w in weights], [b.copy() for b in biases]
    speeds, costs = [], []
    for step in range(steps + 1):
        activations = [x.T]
        for w, b in zip(weights, biases, strict=True):
            activations.append(sigmoid(w @ activations[-1] + b[:, None]))
        a = activations[-1]
        costs.append(-(y.T * np.log(a) + (1 - y.T) * np.log(1 - a)).sum() / len(x))
        delta = a - y.T
        nabla_b, nabla_w = [], []
        for layer in range(len(weights) - 1, -1, -1):
            nabla_b.insert(0, delta.mean(axis=1))
            nabla_w.insert(0, delta @ activations[layer].T / len(x))
            s = activations[layer]
            delta = (weights[layer].T @ delta) * s * (1 - s)
        speeds.append([np.linalg.norm(b) for b in nabla_b[:-1]])
        if step < steps:
            decay = 1 - RATE * LAMBDA / IMAGES
            weights = [decay * w - RATE * n for w, n in zip(weights, nabla_w, strict=True)]
            biases = [b - RATE * n for b, n in zip(biases, nabla_b, strict=True)]
    return np.array(speeds).T, np.array(costs)


def arrays(model):
    layers = [layer for layer in model if isinstance(layer, torch.nn.Linear)]
    return (
        [layer.weight.detach().numpy() for layer in layers],
        [layer.bias.detach().numpy() for layer in layers],
    )


def test_speeds_and_loss_follow_nielsens_equations(data):
    """float64; 20 steps of rounding stay far below 1e-10."""
    model = classic.build(3).double()
    expected, costs = nielsen(*arrays(model), data.images.numpy(), data.targets.numpy(), 20)
    history = classic.train(model, data, steps=20)
    np.testing.assert_allclose(history.speeds, expected, rtol=1e-10)
    np.testing.assert_allclose(history.loss, costs, rtol=1e-10)


def test_history_has_one_entry_per_step_and_one_after_the_last(data):
    history = classic.train(classic.build(0).double(), data, steps=4)
    assert history.steps == (0, 1, 2, 3, 4)
    assert history.layers == ("hidden1", "hidden2", "hidden3", "hidden4")
    assert [len(speeds) for speeds in history.speeds] == [5] * 4
    assert len(history.loss) == len(history.metric) == 5
    assert history.spread() == history.speeds[3][0] / history.speeds[0][0]


def test_weights_and_biases_have_the_named_variance():
    """A layer of 400 x 400: the standard error of a standard deviation is sd / sqrt(2 n)."""
    layer = classic.build(0, sizes=(400, 400, 10))[0]
    assert layer.weight.std().item() == pytest.approx(1 / 20, rel=5 / math.sqrt(2 * 160_000))
    assert layer.bias.std().item() == pytest.approx(1, rel=4 / math.sqrt(2 * 400))


def test_a_seed_gives_the_same_net_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    first, second, other = (classic.build(seed) for seed in (7, 7, 8))
    assert torch.equal(torch.get_rng_state(), before)
    for a, b, c in zip(first.parameters(), second.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_training_twice_gives_the_same_history():
    data = digits.load()
    first, second = (classic.train(classic.build(0), data, steps=5) for _ in range(2))
    assert first == second


def test_digits_are_1000_and_797_real_images_in_the_unit_range(data):
    assert data.images.shape == (1000, 64)
    assert data.unseen_images.shape == (797, 64)
    assert (data.images.min(), data.images.max()) == (0, 1)
    assert torch.equal(data.targets.argmax(dim=1), data.labels)
    assert torch.equal(data.targets.sum(dim=1), torch.ones(1000, dtype=torch.float64))


def test_accuracy_counts_right_answers():
    logits = torch.eye(10, dtype=torch.float64)
    identity = torch.nn.Identity()
    assert classic.accuracy(identity, logits, torch.arange(10)) == 1
    assert classic.accuracy(identity, logits, torch.zeros(10, dtype=torch.int64)) == pytest.approx(
        0.1
    )


@pytest.mark.parametrize("change", remedies.CHANGES, ids=lambda change: change.name)
def test_every_change_keeps_the_widths(change):
    model = change.build(0)
    shapes = [tuple(layer.weight.shape) for layer in model if isinstance(layer, torch.nn.Linear)]
    assert shapes == [(30, 64), (30, 30), (30, 30), (30, 30), (10, 30)]
