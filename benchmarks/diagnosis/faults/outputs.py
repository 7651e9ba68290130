"""Faults between the last layer and the loss: reach, scale, axes, products, labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam

from diagnosis.data import Loss, cancer, digits, houses, supervised, text
from diagnosis.nets import Reader, cnn, mlp
from diagnosis.registry import Training, fault


def _houses(seed: int, loss: Loss) -> Training:
    model = mlp(8, 1, depth=3)
    return supervised(houses(), model, Adam(model.parameters(), 1e-2), seed, loss=loss)


@fault("outputs/abs", 4, "loss-head", why="the absolute value of the output, targets of both signs")
def absolute(seed: int, fixed: bool) -> Training:
    return _houses(seed, lambda o, y: F.mse_loss((o if fixed else o.abs()).flatten(), y))


@fault("outputs/square-by-hand", 4, "loss-head", why="a square as output, targets of both signs")
def squared(seed: int, fixed: bool) -> Training:
    return _houses(seed, lambda o, y: ((o if fixed else o.square()).flatten() - y).square().mean())


@fault("outputs/one-minus-sigmoid", 4, "loss-head", why="1 - sigmoid for targets of both signs")
def one_minus_sigmoid(seed: int, fixed: bool) -> Training:
    return _houses(seed, lambda o, y: F.huber_loss((o if fixed else 1 - o.sigmoid()).flatten(), y))


@fault("outputs/temperature-divides", 4, "loss-head learning-rate", why="logits divided by 1e4")
def temperature_divides(seed: int, fixed: bool) -> Training:
    model = cnn(depth=3)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(out if fixed else out / 1e4, y)

    return supervised(digits(True), model, SGD(model.parameters(), 0.3), seed, loss=loss)


@fault(
    "outputs/temperature-multiplies",
    4,
    "loss-head numerics learning-rate",
    why="logits times 1e5: each answer is certain, and its gradient as large as the factor",
)
def temperature_multiplies(seed: int, fixed: bool) -> Training:
    model = mlp(64, 10, depth=3)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(out if fixed else out * 1e5, y)

    return supervised(digits(), model, SGD(model.parameters(), 0.1), seed, loss=loss)


@fault("outputs/product-broadcasts", 4, "loss-shape", why="(N, 1) times (N,) in a loss by hand")
def product_broadcasts(seed: int, fixed: bool) -> Training:
    model = mlp(30, 1, depth=3)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        out = out.flatten() if fixed else out
        return -(y * F.logsigmoid(out) + (1 - y) * F.logsigmoid(-out)).mean()

    return supervised(cancer(), model, Adam(model.parameters(), 3e-3), seed, loss=loss)


@fault("outputs/softmax-over-time", 4, "loss-head loss-shape", why="log_softmax over the places")
def softmax_over_time(seed: int, fixed: bool) -> Training:
    model = Reader(nn.GRU(32, 32, batch_first=True), 64, 64, 32, every=True)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return F.nll_loss(out.log_softmax(-1 if fixed else 1).flatten(0, 1), y.flatten())

    return supervised(text(), model, Adam(model.parameters(), 1e-2), seed, batch=16, loss=loss)


@fault("outputs/one-class-weighted", 4, "labels loss-head", why="nine of ten class weights are 0")
def one_class_weighted(seed: int, fixed: bool) -> Training:
    model = mlp(64, 10, depth=3)
    weight = torch.ones(10) if fixed else torch.eye(10)[3]

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(out, y, weight=weight)

    return supervised(digits(), model, Adam(model.parameters(), 3e-3), seed, loss=loss)


@fault("outputs/labels-from-one", 4, "labels", why="classes 1 to 10 for outputs 0 to 9: raises")
def labels_from_one(seed: int, fixed: bool) -> Training:
    model = cnn(depth=3)
    task = digits(True) if fixed else digits(True).targets(lambda y: y + 1)
    return supervised(task, model, Adam(model.parameters(), 3e-3), seed)


@fault("outputs/softmax-then-bce", 4, "loss-head", why="softmax, then a sigmoid inside the loss")
def softmax_then_bce(seed: int, fixed: bool) -> Training:
    model = mlp(64, 10, depth=3)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        if fixed:
            return F.cross_entropy(out, y)
        return F.binary_cross_entropy_with_logits(out.softmax(-1), F.one_hot(y, 10).float())

    return supervised(digits(), model, SGD(model.parameters(), 0.3), seed, loss=loss)


@fault(
    "outputs/relu-logit", 4, "loss-head dead-units", why="a ReLU on the logit: no answer below 1/2"
)
def relu_logit(seed: int, fixed: bool) -> Training:
    model = mlp(30, 1, depth=3)
    nn.init.constant_(model[-1].bias, -1.0)
    if not fixed:
        model.append(nn.ReLU())
    return supervised(cancer(), model, Adam(model.parameters(), 3e-3), seed)
