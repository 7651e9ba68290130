"""Instability over time: the start looks fine."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam

from diagnosis.data import cancer, digits, houses, lookup, supervised, text, wine
from diagnosis.loops import loop
from diagnosis.nets import Reader, Transformer, cnn, he, mlp
from diagnosis.registry import Training, fault


@fault("drift/oscillation", 7, "learning-rate noise", why="rate above 2/sharpness, momentum 0.9")
def oscillation(seed: int, fixed: bool) -> Training:
    model = mlp(8, 1, depth=2, width=32)
    rate = 0.02 if fixed else 0.65
    return supervised(houses(), model, SGD(model.parameters(), rate, momentum=0.9), seed, batch=256)


@fault("drift/slow-divergence", 7, "learning-rate", why="a linear model 8 % above 2/sharpness")
def slow_divergence(seed: int, fixed: bool) -> Training:
    model = nn.Linear(30, 1)
    task = cancer().map(lambda x: x)
    task = type(task)(task.x, task.y * 2 - 1, task.x_test, task.y_test * 2 - 1, "values")
    top = float(torch.linalg.eigvalsh(2 * task.x.T @ task.x / len(task.x))[-1])
    rate = 0.3 / top if fixed else 2.16 / top
    return supervised(task, model, SGD(model.parameters(), rate), seed, batch=256)


@fault(
    "drift/warm-up-too-high",
    7,
    "learning-rate dead-units",
    why="a linear warm-up leads to a rate of 3: fine for ten steps",
)
def warm_up_too_high(seed: int, fixed: bool) -> Training:
    model = he(mlp(64, 10, depth=4))
    training = supervised(digits(), model, SGD(model.parameters(), 0.0, momentum=0.9), seed)
    rate = 0.05 if fixed else 5.0
    training.train_step = loop(training.step, schedule=lambda i: min(1, i / 50), rate=rate)
    return training


@fault(
    "drift/restart-too-high", 7, "learning-rate", why="a restart at step 25 at 1000 times the rate"
)
def restart_too_high(seed: int, fixed: bool) -> Training:
    model = cnn(depth=3)
    training = supervised(digits(True), model, Adam(model.parameters(), 3e-3), seed)
    jump = 1.0 if fixed else 300.0
    training.train_step = loop(
        training.step, schedule=lambda i: jump if i >= 25 else 1.0, rate=3e-3
    )
    return training


@fault(
    "drift/growth-reward",
    7,
    "regularization weight-decay weight-scale",
    why="the penalty has the wrong sign: weights grow until gains pass 1",
)
def growth_reward(seed: int, fixed: bool) -> Training:
    model = he(mlp(64, 10, depth=4))
    decay = 1e-4 if fixed else -1.0
    # SGD refuses a negative decay, so it stands in the loss.
    training = supervised(digits(), model, SGD(model.parameters(), 0.05), seed)
    data = training.step

    def step(model: nn.Module) -> Tensor:
        return data(model) + decay / 2 * sum(p.square().sum() for p in model.parameters())

    training.step = step
    return training


@fault(
    "drift/bad-batch",
    7,
    "data input-scale",
    why="from step 20 on, one batch in five is 1e4 too large",
)
def bad_batch(seed: int, fixed: bool) -> Training:
    model = he(mlp(64, 10, depth=3))
    task, count = digits(), 0
    draw = task.batches(64, seed)

    def step(model: nn.Module) -> Tensor:
        nonlocal count
        count += 1
        x, y = draw()
        scale = 1e4 if not fixed and count > 20 and count % 5 == 0 else 1.0
        return nn.functional.cross_entropy(model(x * scale), y)

    return Training(model, step, SGD(model.parameters(), 0.1), task.score)


@fault("drift/bad-targets", 7, "data labels", why="from step 15 on some targets are in other units")
def bad_targets(seed: int, fixed: bool) -> Training:
    model = mlp(8, 1, depth=3)
    task, count = houses(), 0
    draw = task.batches(64, seed)

    def step(model: nn.Module) -> Tensor:
        nonlocal count
        count += 1
        x, y = draw()
        if not fixed and count > 15:
            y = torch.where(torch.arange(64) % 16 == 0, y * 1000, y)
        return nn.functional.mse_loss(model(x).flatten(), y)

    return Training(model, step, SGD(model.parameters(), 0.02), task.score)


@fault(
    "drift/logit-growth",
    7,
    "attention-scale learning-rate",
    "blocks",
    why="q and k learn 300 times faster: attention logits grow until rows are one-hot",
)
def logit_growth(seed: int, fixed: bool) -> Training:
    model = Transformer(8, 4, d=32, layers=2, time=12)
    fast = [p for n, p in model.named_parameters() if "qkv" in n]
    slow = [p for n, p in model.named_parameters() if "qkv" not in n]
    groups = [{"params": fast, "lr": 3e-3 if fixed else 1.0}, {"params": slow, "lr": 3e-3}]
    return supervised(lookup(), model, Adam(groups), seed)


@fault(
    "drift/noise-dominated", 7, "noise learning-rate", why="batch 1 at rate 0.15: no signal left"
)
def noise_dominated(seed: int, fixed: bool) -> Training:
    model = he(mlp(8, 1, depth=2))
    rate, batch = (0.02, 32) if fixed else (0.15, 1)
    return supervised(houses(), model, SGD(model.parameters(), rate), seed, batch=batch)


@fault("drift/noise-text", 7, "noise learning-rate", why="one line of text a step, Adam at 0.1")
def noise_text(seed: int, fixed: bool) -> Training:
    model = Reader(nn.GRU(32, 32, batch_first=True), 64, 64, 32, every=True)
    rate, batch = (1e-2, 16) if fixed else (0.1, 1)
    return supervised(text(), model, Adam(model.parameters(), rate), seed, batch=batch)


@fault(
    "drift/units-die",
    7,
    "learning-rate dead-units",
    why="each step at this rate throws biases down: ReLUs die within twenty steps",
)
def units_die(seed: int, fixed: bool) -> Training:
    model = he(mlp(8, 1, depth=4, width=32))
    return supervised(houses(), model, Adam(model.parameters(), 3e-3 if fixed else 1.0), seed)


@fault("drift/momentum-one", 7, "learning-rate optimizer-state", why="momentum 1.1 grows by itself")
def momentum_one(seed: int, fixed: bool) -> Training:
    model = he(mlp(13, 3, depth=3))
    optimizer = SGD(model.parameters(), 0.03, momentum=0.9 if fixed else 1.1)
    return supervised(wine(), model, optimizer, seed)


@fault("drift/late-log", 7, "numerics learning-rate", why="log(1 - p) once p rounds to 1")
def late_log(seed: int, fixed: bool) -> Training:
    model = mlp(30, 1, depth=3)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        if fixed:
            return nn.functional.binary_cross_entropy_with_logits(out.flatten(), y)
        p = torch.sigmoid(out.flatten())
        return -(y * p.log() + (1 - y) * (1 - p).log()).mean()

    task = cancer().map(lambda x: x * 3)
    return supervised(task, model, Adam(model.parameters(), 1e-2), seed, loss=loss)


@fault(
    "drift/gan-collapse",
    7,
    "loss-head learning-rate weight-scale",
    why="the discriminator is sure and learns faster: log(1 - D) saturates",
)
def gan_collapse(seed: int, fixed: bool) -> Training:
    from diagnosis.healthy.generative import gan_training

    # It starts away from the data, so the discriminator wins at once.
    return gan_training(seed, saturating=not fixed, offset=6.0)
