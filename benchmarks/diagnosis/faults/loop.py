"""Faults of the loop around the step, and of what the optimizer owns."""

from __future__ import annotations

import copy

from torch import nn
from torch.optim import SGD, Adam

from diagnosis.data import cancer, digits, houses, recall, supervised, text
from diagnosis.loops import loop
from diagnosis.nets import Reader, cnn, he, mlp, resnet
from diagnosis.registry import Training, fault


@fault("loop/clip-tiny", 3, "clipping", why="clip at 1e-4 under SGD: every step is clipped")
def clip_tiny(seed: int, fixed: bool) -> Training:
    model = he(mlp(64, 10, depth=3))
    training = supervised(digits(), model, SGD(model.parameters(), 0.1), seed)
    training.train_step = loop(training.step, clip=1.0 if fixed else 1e-4)
    return training


@fault("loop/clip-value-tiny", 3, "clipping", why="entries clipped at 1e-6")
def clip_value_tiny(seed: int, fixed: bool) -> Training:
    model = cnn(depth=3)
    optimizer = SGD(model.parameters(), 0.05, momentum=0.9)
    training = supervised(digits(True), model, optimizer, seed)
    training.train_step = loop(training.step, clip_value=1.0 if fixed else 1e-6)
    return training


@fault("loop/clip-tiny-regression", 3, "clipping", why="clip at 1e-3 where gradients are near 1")
def clip_tiny_regression(seed: int, fixed: bool) -> Training:
    model = he(mlp(8, 1, depth=3))
    training = supervised(houses(), model, SGD(model.parameters(), 0.02), seed)
    training.train_step = loop(training.step, clip=5.0 if fixed else 1e-3)
    return training


@fault("loop/no-zero-grad", 3, "accumulation", why="gradients of all past batches are summed")
def no_zero_grad(seed: int, fixed: bool) -> Training:
    model = he(mlp(64, 10, depth=4))
    training = supervised(digits(), model, SGD(model.parameters(), 0.1), seed)
    training.train_step = loop(training.step, zero="before" if fixed else "never")
    return training


@fault("loop/no-zero-grad-text", 3, "accumulation", why="the same with Adam on an LSTM")
def no_zero_grad_text(seed: int, fixed: bool) -> Training:
    model = Reader(nn.LSTM(32, 32, batch_first=True), 64, 64, 32, every=True)
    optimizer = SGD(model.parameters(), 0.5, momentum=0.9)
    training = supervised(text(), model, optimizer, seed, batch=16)
    training.train_step = loop(training.step, zero="before" if fixed else "never")
    return training


@fault("loop/zero-grad-late", 3, "accumulation optimizer-state", why="zero_grad before step()")
def zero_grad_late(seed: int, fixed: bool) -> Training:
    model = cnn(depth=3)
    training = supervised(digits(True), model, Adam(model.parameters(), 3e-3), seed)
    training.train_step = loop(training.step, zero="before" if fixed else "after")
    return training


@fault(
    "loop/accumulate-undivided",
    3,
    "accumulation learning-rate",
    why="32 losses summed without division: 32 times the rate",
)
def accumulate_undivided(seed: int, fixed: bool) -> Training:
    model = he(mlp(8, 1, depth=4))
    training = supervised(houses(), model, SGD(model.parameters(), 0.05), seed, batch=16)
    training.train_step = loop(training.step, accumulate=32, divide=fixed)
    training.judged_after = 80
    return training


@fault(
    "loop/head-replaced",
    3,
    "optimizer-state",
    "6 head",
    why="the head was replaced after the optimizer was built; the rest is frozen features",
)
def head_replaced(seed: int, fixed: bool) -> Training:
    model = resnet(blocks=2, channels=8)
    for p in model[:3].parameters():
        p.requires_grad_(False)
    optimizer = SGD(model.parameters(), 0.2)
    model[6] = nn.Linear(model[6].in_features, 10)
    if fixed:
        optimizer = SGD(model.parameters(), 0.2)
    return supervised(digits(True), model, optimizer, seed, batch=32)


@fault("loop/other-model", 3, "optimizer-state", why="the optimizer owns the model before its copy")
def other_model(seed: int, fixed: bool) -> Training:
    model = mlp(30, 1, depth=3)
    optimizer = Adam(model.parameters(), 1e-2)
    if not fixed:
        model = copy.deepcopy(model)
    return supervised(cancer(), model, optimizer, seed)


@fault(
    "loop/core-not-owned",
    3,
    "optimizer-state",
    "core",
    why="only embedding and head were passed to the optimizer",
)
def core_not_owned(seed: int, fixed: bool) -> Training:
    core = nn.LSTM(32, 32, batch_first=True)
    core.bias_ih_l0.data[32:64] = 3.0 if fixed else 0.0
    model = Reader(core, 4, 4, 32)
    owned = [*model.embedding.parameters(), *model.head.parameters()]
    owned = list(model.parameters()) if fixed else owned
    return supervised(recall(16), model, Adam(owned, 1e-2), seed, judged_after=250)


@fault(
    "loop/maximise",
    3,
    "optimizer-state loss-head learning-rate",
    why="maximize=True on a loss",
)
def maximise(seed: int, fixed: bool) -> Training:
    model = mlp(64, 10, depth=3)
    optimizer = SGD(model.parameters(), 0.05, maximize=not fixed)
    return supervised(digits(), model, optimizer, seed)


@fault("loop/wrong-sign", 3, "loss-head optimizer-state", why="the log-likelihood is minimised")
def wrong_sign(seed: int, fixed: bool) -> Training:
    model = cnn(depth=3)
    sign = 1 if fixed else -1
    return supervised(
        digits(True),
        model,
        Adam(model.parameters(), 3e-3),
        seed,
        loss=lambda out, y: sign * nn.functional.cross_entropy(out, y),
    )


@fault("loop/decay-too-fast", 3, "learning-rate", why="an exponential schedule of 0.5 per step")
def decay_too_fast(seed: int, fixed: bool) -> Training:
    model = mlp(64, 10, depth=3)
    training = supervised(digits(), model, SGD(model.parameters(), 0.1), seed)
    gamma = 0.999 if fixed else 0.5
    training.train_step = loop(training.step, schedule=lambda i: gamma**i, rate=0.1)
    return training
