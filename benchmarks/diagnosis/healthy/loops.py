"""Loops that look odd and are right: warm-up, accumulation, restarts, clipping, rest."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from diagnosis.data import (
    cancer,
    digits,
    houses,
    lookup,
    pretrained,
    recall,
    supervised,
    text,
    wine,
)
from diagnosis.loops import loop
from diagnosis.nets import Reader, Transformer, cnn, he, mlp
from diagnosis.registry import Training, healthy


@healthy("loops/warm-up", why="the rate starts at 0 and rises over 40 steps")
def warm_up(seed: int, fixed: bool) -> Training:
    model = Transformer(8, 4, layers=2, time=12)
    training = supervised(lookup(), model, Adam(model.parameters(), 0.0), seed)
    training.train_step = loop(training.step, schedule=lambda i: min(1, i / 40), rate=3e-3)
    return training


@healthy(
    "loops/long-warm-up",
    why="after 50 of 1000 steps of warm-up the rate is still tiny",
    static="it is 5 % into its warm-up",
)
def long_warm_up(seed: int, fixed: bool) -> Training:
    model = mlp(64, 10, depth=3)
    training = supervised(digits(), model, Adam(model.parameters(), 0.0), seed)
    training.train_step = loop(training.step, schedule=lambda i: i / 1000, rate=1e-3)
    return training


@healthy("loops/cosine-restarts", why="the rate jumps back every 20 steps")
def cosine_restarts(seed: int, fixed: bool) -> Training:
    model = cnn(depth=3)
    training = supervised(digits(True), model, Adam(model.parameters(), 5e-3), seed)
    training.train_step = loop(
        training.step, schedule=lambda i: 0.5 + 0.5 * math.cos(math.pi * (i % 20) / 20), rate=5e-3
    )
    return training


@healthy("loops/one-cycle", why="rate up to 0.3 and down again")
def one_cycle(seed: int, fixed: bool) -> Training:
    model = he(mlp(64, 10, depth=3))
    training = supervised(digits(), model, SGD(model.parameters(), 0.0), seed)
    training.train_step = loop(
        training.step, schedule=lambda i: math.sin(math.pi * min(i, 199) / 200), rate=0.3
    )
    return training


@healthy("loops/accumulate", why="gradients grow over four micro-batches, as meant")
def accumulate(seed: int, fixed: bool) -> Training:
    model = mlp(64, 10, depth=3)
    training = supervised(digits(), model, Adam(model.parameters(), 3e-3), seed, batch=16)
    training.train_step = loop(training.step, accumulate=4)
    training.judged_after = 150
    return training


@healthy("loops/accumulate-across", why="one optimizer step in eight calls; seven change nothing")
def accumulate_across(seed: int, fixed: bool) -> Training:
    model = mlp(8, 1, depth=3)
    training = supervised(houses(), model, Adam(model.parameters(), 1e-2), seed, batch=16)
    count, step = 0, training.step

    def train_step(model: nn.Module, optimizer: Optimizer) -> Tensor:
        nonlocal count
        loss = step(model)
        (loss / 8).backward()
        count += 1
        if count % 8 == 0:
            optimizer.step()
            optimizer.zero_grad()
        return loss.detach()

    training.train_step = train_step
    training.judged_after = 800
    return training


@healthy("loops/clip-norm", why="clip at 1 acts in the first steps only")
def clip_norm(seed: int, fixed: bool) -> Training:
    model = Reader(nn.LSTM(32, 32, batch_first=True), 64, 64, 32, every=True)
    training = supervised(text(), model, Adam(model.parameters(), 1e-2), seed, batch=16)
    training.train_step = loop(training.step, clip=1.0)
    return training


@healthy("loops/clip-always-adam", why="each step is clipped, which Adam does not feel")
def clip_always(seed: int, fixed: bool) -> Training:
    model = mlp(64, 10, depth=3)
    training = supervised(digits(), model, Adam(model.parameters(), 3e-3), seed)
    training.train_step = loop(training.step, clip=0.05)
    return training


@healthy("loops/batch-one", why="SGD on single samples at a fitting rate is noisy and learns")
def batch_one(seed: int, fixed: bool) -> Training:
    model = he(mlp(30, 1, depth=3))
    return supervised(
        cancer(), model, SGD(model.parameters(), 0.01), seed, batch=1, judged_after=600
    )


@healthy("loops/batch-two-regression", why="two samples a step")
def batch_two(seed: int, fixed: bool) -> Training:
    model = he(mlp(8, 1, depth=3))
    return supervised(
        houses(), model, SGD(model.parameters(), 0.005), seed, batch=2, judged_after=800
    )


@healthy(
    "loops/converged",
    why="trained for long: gradients and updates are small",
    static="it is at its optimum",
)
def converged(seed: int, fixed: bool) -> Training:
    model = pretrained(600)
    return supervised(digits(), model, SGD(model.parameters(), 0.01), seed)


@healthy(
    "loops/converged-regression",
    why="a linear model at the least squares solution",
    static="it is at its optimum",
)
def converged_regression(seed: int, fixed: bool) -> Training:
    task, model = houses(), nn.Linear(8, 1)
    x = torch.cat([task.x, torch.ones(len(task.x), 1)], 1)
    best = torch.linalg.lstsq(x, task.y[:, None]).solution.flatten()
    model.weight.data[0], model.bias.data[0] = best[:8], best[8]
    return supervised(task, model, SGD(model.parameters(), 1e-3), seed)


@healthy(
    "loops/solved",
    why="the loss is 0 to rounding and so is each gradient",
    static="nothing is left to learn",
)
def solved(seed: int, fixed: bool) -> Training:
    model, task = nn.Linear(8, 1), houses()
    with torch.no_grad():
        y, y_test = model(task.x).flatten(), model(task.x_test).flatten()
    task = type(task)(task.x, y, task.x_test, y_test, "values")
    return supervised(task, model, SGD(model.parameters(), 0.1), seed)


@healthy(
    "loops/solved-separable",
    why="wine is learnt to loss 1e-3 before the check begins",
    static="nothing is left to learn",
)
def solved_separable(seed: int, fixed: bool) -> Training:
    model = mlp(13, 3, depth=3)
    training = supervised(wine(), model, Adam(model.parameters(), 1e-2), seed)
    for _ in range(150):
        training.advance()
    return training


@healthy("loops/edge-of-stability", why="large rate: the loss rises now and then and still falls")
def edge(seed: int, fixed: bool) -> Training:
    model = he(mlp(64, 10, depth=2))
    return supervised(digits(), model, SGD(model.parameters(), 0.7), seed)


@healthy("loops/adamw-decay", why="weight decay of 0.1 shrinks idle weights slowly")
def adamw(seed: int, fixed: bool) -> Training:
    model = cnn(depth=3)
    return supervised(digits(True), model, AdamW(model.parameters(), 3e-3, weight_decay=0.1), seed)


@healthy("loops/nesterov", why="momentum 0.95")
def nesterov(seed: int, fixed: bool) -> Training:
    model = he(mlp(30, 1, depth=3))
    optimizer = SGD(model.parameters(), 0.01, momentum=0.95, nesterov=True)
    return supervised(cancer(), model, optimizer, seed)


@healthy("loops/plateau-then-drop", why="recall by LSTM: flat at ln 4 for long, then solved")
def plateau(seed: int, fixed: bool) -> Training:
    core = nn.LSTM(32, 32, batch_first=True)
    core.bias_ih_l0.data[32:64] = 2.0
    model = Reader(core, 4, 4, 32)
    optimizer = Adam(model.parameters(), 3e-3)
    return supervised(recall(16), model, optimizer, seed, judged_after=600)


@healthy("loops/layer-rates", why="the head learns ten times faster than the body, as set")
def layer_rates(seed: int, fixed: bool) -> Training:
    model = mlp(64, 10, depth=3)
    groups = [
        {"params": model[:-1].parameters(), "lr": 3e-4},
        {"params": model[-1].parameters(), "lr": 3e-3},
    ]
    return supervised(digits(), model, Adam(groups), seed)
