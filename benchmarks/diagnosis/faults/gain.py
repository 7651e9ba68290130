"""Gain faults of weights and activations: the product is far from 1 at the start."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam

from diagnosis.data import cancer, digits, houses, supervised, wine
from diagnosis.nets import cnn, he, mlp, normal, xavier
from diagnosis.registry import Training, fault


@fault("gain/sigmoid-mlp", 1, "activation-derivative", why="each sigmoid costs a factor below 1/4")
def sigmoid_mlp(seed: int, fixed: bool) -> Training:
    model = mlp(64, 10, depth=6, act=nn.ReLU if fixed else nn.Sigmoid)
    model = he(model) if fixed else xavier(model)
    return supervised(digits(), model, SGD(model.parameters(), 0.1), seed)


@fault("gain/sigmoid-cnn", 1, "activation-derivative", why="five convolutions behind sigmoids")
def sigmoid_cnn(seed: int, fixed: bool) -> Training:
    model = cnn(depth=5, act=nn.ReLU if fixed else nn.Sigmoid)
    model = he(model) if fixed else xavier(model)
    return supervised(digits(True), model, SGD(model.parameters(), 0.05, momentum=0.9), seed)


@fault("gain/sigmoid-autoencoder", 1, "activation-derivative", why="the bottleneck starves")
def sigmoid_autoencoder(seed: int, fixed: bool) -> Training:
    act = nn.ELU if fixed else nn.Sigmoid
    sizes = [64, 48, 32, 16, 32, 48]
    layers = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), act())]
    model = nn.Sequential(*layers, nn.Linear(48, 64))
    task = digits()
    mean = task.x.mean(0)
    base = float(((task.x_test - mean) ** 2).mean())

    def score(model: nn.Module) -> float:
        with torch.no_grad():
            return 1 - float(((model(task.x_test) - task.x_test) ** 2).mean()) / base

    draw = task.batches(64, seed)

    def step(model: nn.Module) -> Tensor:
        x, _ = draw()
        return ((model(x) - x) ** 2).mean()

    return Training(model, step, Adam(model.parameters(), 3e-3), score)


@fault(
    "gain/tanh-wide-weights",
    1,
    "weight-scale activation-derivative",
    why="weights N(0, 1) whatever the fan-in: every tanh is at its bound",
)
def tanh_wide_weights(seed: int, fixed: bool) -> Training:
    model = mlp(64, 10, width=256, depth=8, act=nn.Tanh)
    model = xavier(model) if fixed else normal(model, 1.0)
    return supervised(digits(), model, SGD(model.parameters(), 0.1), seed)


@fault(
    "gain/hardtanh-cnn-wide-weights",
    1,
    "weight-scale activation-derivative",
    why="convolutions at ten times Glorot in front of hard tanh: slope 0 almost everywhere",
)
def hardtanh_cnn(seed: int, fixed: bool) -> Training:
    model = xavier(cnn(depth=4, act=nn.Hardtanh), 1 if fixed else 10)
    return supervised(digits(True), model, SGD(model.parameters(), 0.1), seed)


@fault(
    "gain/relu-default-deep",
    1,
    "weight-scale",
    why="PyTorch's default Linear init has gain 1/sqrt(6) a layer under ReLU",
)
def relu_default_deep(seed: int, fixed: bool) -> Training:
    model = mlp(64, 10, depth=16)
    model = he(model) if fixed else model
    return supervised(digits(), model, SGD(model.parameters(), 0.02, momentum=0.9), seed)


@fault("gain/relu-default-houses", 1, "weight-scale", why="the same in a tabular regression")
def relu_default_houses(seed: int, fixed: bool) -> Training:
    model = mlp(8, 1, depth=12)
    model = he(model) if fixed else model
    return supervised(houses(), model, SGD(model.parameters(), 0.003, momentum=0.9), seed)


@fault("gain/cnn-small-weights", 1, "weight-scale", why="normal with std 0.01 is 0.07 of He here")
def cnn_small_weights(seed: int, fixed: bool) -> Training:
    model = cnn(depth=7)
    model = he(model) if fixed else normal(model, 0.01)
    return supervised(digits(True), model, SGD(model.parameters(), 0.02, momentum=0.9), seed)


@fault("gain/he-doubled", 1, "weight-scale", why="2 He over 14 layers: a gain of 2**14")
def he_doubled(seed: int, fixed: bool) -> Training:
    model = he(mlp(64, 10, depth=14), 1 if fixed else 2)
    return supervised(digits(), model, SGD(model.parameters(), 0.02), seed)


@fault("gain/gelu-houses-explode", 1, "weight-scale", why="GELU net at three times He, ten layers")
def gelu_explode(seed: int, fixed: bool) -> Training:
    model = he(mlp(8, 1, depth=10, act=nn.GELU), 1 if fixed else 3)
    return supervised(houses(), model, SGD(model.parameters(), 0.003), seed)


@fault(
    "gain/narrow-deep",
    1,
    "weight-scale dead-units",
    why="width 3, depth 24: width fluctuation and dead layers although the init is He's",
)
def narrow_deep(seed: int, fixed: bool) -> Training:
    model = he(mlp(13, 3, width=64 if fixed else 3, depth=24))
    return supervised(wine(), model, SGD(model.parameters(), 0.01), seed)


@fault(
    "gain/dilated-padding",
    1,
    "weight-scale",
    why="dilation 8 on 8x8 images: eight of nine taps read padding, so He is three times too small",
)
def dilated_padding(seed: int, fixed: bool) -> Training:
    model = he(cnn(depth=10, dilation=1 if fixed else 8))
    return supervised(digits(True), model, SGD(model.parameters(), 0.01, momentum=0.9), seed)


@fault("gain/zero-weights", 1, "weight-scale", why="every weight is 0, so every gradient below is")
def zero_weights(seed: int, fixed: bool) -> Training:
    model = he(mlp(30, 1, depth=4), 1 if fixed else 0)
    return supervised(cancer(), model, SGD(model.parameters(), 0.1), seed)


@fault(
    "gain/constant-weights",
    1,
    "weight-scale rank-collapse",
    why="all weights alike: all units of a layer compute one thing for ever",
)
def constant_weights(seed: int, fixed: bool) -> Training:
    model = mlp(64, 10, depth=3)
    if not fixed:
        for p in model.parameters():
            nn.init.constant_(p, 0.02)
    return supervised(digits(), model, Adam(model.parameters(), 3e-3), seed)


class Exp(nn.Module):
    """`exp(x)` as an activation."""

    def forward(self, x: Tensor) -> Tensor:
        """Entrywise."""
        return x.exp()


@fault(
    "gain/softmax-hidden",
    1,
    "activation-derivative",
    why="softmax over 128 units has slope 1/128",
)
def softmax_hidden(seed: int, fixed: bool) -> Training:
    def act() -> nn.Module:
        return nn.ReLU() if fixed else nn.Softmax(dim=-1)

    model = mlp(64, 10, width=128, depth=4, act=act)
    return supervised(digits(), model, SGD(model.parameters(), 0.1, momentum=0.9), seed)


@fault(
    "gain/exp-hidden",
    1,
    "activation-derivative weight-scale numerics",
    why="exp of exp: gains explode with the pre-activation",
)
def exp_hidden(seed: int, fixed: bool) -> Training:
    model = xavier(mlp(64, 10, depth=4, act=nn.ReLU if fixed else Exp))
    return supervised(digits(), model, SGD(model.parameters(), 0.05), seed)


@fault(
    "gain/wine-raw-sigmoid",
    1,
    "input-scale activation-derivative data",
    why="raw columns up to 1700 drive the first sigmoids flat",
)
def wine_raw_sigmoid(seed: int, fixed: bool) -> Training:
    model = mlp(13, 3, width=32, depth=2, act=nn.Sigmoid)
    return supervised(wine(not fixed), model, SGD(model.parameters(), 0.5), seed)


@fault(
    "gain/houses-raw-tanh",
    1,
    "input-scale activation-derivative data",
    why="a column around 1000 saturates tanh",
)
def houses_raw_tanh(seed: int, fixed: bool) -> Training:
    model = mlp(8, 1, depth=3, act=nn.Tanh)
    return supervised(houses(not fixed), model, Adam(model.parameters(), 3e-3), seed)
