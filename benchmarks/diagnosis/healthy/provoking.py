"""Healthy trainings that look like a fault: games, twins, rare labels, capped outputs."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from diagnosis.data import Task, digits, houses, supervised
from diagnosis.nets import cnn, mlp
from diagnosis.registry import Training, healthy


@healthy("provoking/game-of-two-optimizers", why="the opponent has its own", static="a game")
def game(seed: int, fixed: bool) -> Training:
    real = torch.Generator().manual_seed(seed)
    model = nn.ModuleDict({"maker": mlp(4, 2, depth=2), "judge": mlp(2, 1, depth=3)})
    ours = Adam(model["maker"].parameters(), 1e-3)
    theirs = Adam(model["judge"].parameters(), 1e-3)

    def step(model: nn.Module) -> Tensor:
        return F.softplus(-model["judge"](model["maker"](torch.randn(64, 4)))).mean()

    def train_step(model: nn.Module, optimizer: Optimizer) -> Tensor:
        x = torch.randn(64, 2, generator=real) * 0.5 + 1
        made = model["maker"](torch.randn(64, 4)).detach()
        theirs.zero_grad()
        (F.softplus(-model["judge"](x)) + F.softplus(model["judge"](made))).mean().backward()
        theirs.step()
        optimizer.zero_grad()
        loss = step(model)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return Training(model, step, ours, lambda _: 0.0, train_step)


@healthy("provoking/rare-positives", why="three positives in a hundred: batches scatter")
def rare(seed: int, fixed: bool) -> Training:
    g = torch.Generator().manual_seed(1)
    x = torch.randn(4000, 12, generator=g)
    y = (x[:, 0] + x[:, 1] > 2.6).float()
    task = Task(x[400:], y[400:], x[:400], y[:400], "binary")
    model = mlp(12, 1, depth=2, width=32)

    def score(model: nn.Module) -> float:
        """Rank of positives among negatives, 0 by chance."""
        out = model(task.x_test).flatten().detach()
        ahead = out[task.y_test > 0][:, None] > out[task.y_test < 1][None]
        return 2 * float(ahead.float().mean()) - 1

    return supervised(task, model, Adam(model.parameters(), 3e-3), seed, score=score)


@healthy("provoking/little-to-know", why="a tenth of the targets' variance can be explained")
def little(seed: int, fixed: bool) -> Training:
    g = torch.Generator().manual_seed(14)
    x = torch.randn(6000, 8, generator=g)
    signal = x[:, 0] - x[:, 1]
    y = signal + 3 * signal.std() * torch.randn(6000, generator=g)
    clean = Task(x[400:], y[400:], x[:400], signal[:400], "values")
    model = mlp(8, 1, depth=2, width=16)
    return supervised(clean, model, Adam(model.parameters(), 3e-3), seed, judged_after=400)


@healthy(
    "provoking/penalty-above-guess", why="a penalty keeps the loss above ln 10 while it learns"
)
def penalty_above_guess(seed: int, fixed: bool) -> Training:
    model = mlp(64, 10, depth=2, width=128)
    training = supervised(digits(), model, SGD(model.parameters(), 0.1), seed)
    data = training.step

    def step(model: nn.Module) -> Tensor:
        return data(model) + 0.02 * sum(p.square().sum() for p in model.parameters())

    training.step = step
    return training


@healthy("provoking/soft-cap", why="logits capped at 15 by tanh reach far enough")
def soft_cap(seed: int, fixed: bool) -> Training:
    model = mlp(64, 10, depth=3)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(15 * torch.tanh(out / 15), y)

    return supervised(digits(), model, Adam(model.parameters(), 3e-3), seed, loss=loss)


@healthy("provoking/output-over-width", why="an output divided by 64 starts near 0 and grows")
def over_width(seed: int, fixed: bool) -> Training:
    model = mlp(64, 10, depth=2, width=256)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(out / 64, y)

    return supervised(digits(), model, Adam(model.parameters(), 1e-2), seed, loss=loss)


@healthy("provoking/twins-apart", why="in-batch classes: samples see each other by design")
def twins(seed: int, fixed: bool) -> Training:
    task = digits()
    draw = task.batches(64, seed)
    model = mlp(64, 16, depth=2)

    def paired(model: nn.Module, x: Tensor) -> Tensor:
        a, b = (F.normalize(model(x + 0.1 * torch.randn_like(x)), dim=-1) for _ in range(2))
        return a @ b.T / 0.1

    def step(model: nn.Module) -> Tensor:
        return F.cross_entropy(paired(model, draw()[0]), torch.arange(64))

    def score(model: nn.Module) -> float:
        with torch.no_grad():
            found = paired(model, task.x_test[:64]).argmax(-1)
        return float((found == torch.arange(64)).float().mean())

    return Training(model, step, Adam(model.parameters(), 3e-3), score)


@healthy("provoking/own-target-average", why="a target that follows the net", static="own target")
def own_target(seed: int, fixed: bool) -> Training:
    draw = digits().batches(64, seed)
    model = nn.ModuleDict({"online": mlp(64, 16, depth=2, norm=nn.BatchNorm1d)})
    model["ahead"] = mlp(16, 16, depth=2, width=32, norm=nn.BatchNorm1d)
    model["target"] = copy.deepcopy(model["online"]).requires_grad_(False)
    trained = [*model["online"].parameters(), *model["ahead"].parameters()]

    def step(model: nn.Module) -> Tensor:
        x, _ = draw()
        a = model["ahead"](model["online"](x + 0.2 * torch.randn_like(x)))
        with torch.no_grad():
            b = model["target"](x + 0.2 * torch.randn_like(x))
        return 2 - 2 * F.cosine_similarity(a, b, dim=-1).mean()

    def train_step(model: nn.Module, optimizer: Optimizer) -> Tensor:
        optimizer.zero_grad()
        loss = step(model)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            pairs = zip(model["target"].parameters(), model["online"].parameters(), strict=True)
            for p, q in pairs:
                p.mul_(0.99).add_(q, alpha=0.01)
        return loss.detach()

    return Training(model, step, Adam(trained, 3e-3), lambda _: 0.0, train_step)


@healthy("provoking/sharpness-aware", why="two backward passes, the second at moved weights")
def sharpness_aware(seed: int, fixed: bool) -> Training:
    model = cnn(depth=3)
    task = digits(True)
    draw = task.batches(64, seed)
    training = supervised(task, model, SGD(model.parameters(), 0.1, momentum=0.9), seed)

    def train_step(model: nn.Module, optimizer: Optimizer) -> Tensor:
        x, y = draw()
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        parameters = list(model.parameters())
        size = torch.stack([p.grad.norm() for p in parameters]).norm()
        moves = [0.05 * p.grad / size for p in parameters]
        with torch.no_grad():
            for p, move in zip(parameters, moves, strict=True):
                p.add_(move)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        with torch.no_grad():
            for p, move in zip(parameters, moves, strict=True):
                p.sub_(move)
        optimizer.step()
        return loss.detach()

    training.train_step = train_step
    return training


@healthy("provoking/clipped-ratio", why="a policy's clipped ratio to its old self", static="a game")
def clipped_ratio(seed: int, fixed: bool) -> Training:
    g = torch.Generator().manual_seed(seed)
    model = mlp(8, 4, depth=2, width=32)
    old = copy.deepcopy(model)

    def step(model: nn.Module) -> Tensor:
        x = torch.randn(128, 8, generator=g)
        with torch.no_grad():
            before = old(x).log_softmax(-1)
            action = torch.multinomial(before.exp(), 1, generator=g)
            reward = (action[:, 0] == x[:, :4].argmax(-1)).float() - 0.25
        ratio = (model(x).log_softmax(-1) - before).gather(1, action)[:, 0].exp()
        return -torch.min(ratio * reward, ratio.clamp(0.8, 1.2) * reward).mean()

    return Training(model, step, Adam(model.parameters(), 3e-3), lambda _: 0.0)


@healthy(
    "provoking/pinball", why="the loss of the 90 % quantile", static="another target than skill"
)
def pinball(seed: int, fixed: bool) -> Training:
    model = mlp(8, 1, depth=2, width=32)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        off = y - out.flatten()
        return torch.maximum(0.9 * off, -0.1 * off).mean()

    return supervised(houses(), model, Adam(model.parameters(), 5e-3), seed, loss=loss)


@healthy("provoking/noise-of-noise", why="denoising at random levels: the loss stays near 1")
def noise_of_noise(seed: int, fixed: bool) -> Training:
    task = digits()
    draw = task.batches(128, seed)
    model = mlp(65, 64, depth=3, width=128, act=nn.SiLU)

    def denoised(model: nn.Module, x: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        mixed = level.cos() * 3 * x + level.sin() * noise
        return F.mse_loss(model(torch.cat([mixed, level], 1)), noise)

    def step(model: nn.Module) -> Tensor:
        x, _ = draw()
        return denoised(model, x, torch.randn_like(x), torch.rand(len(x), 1))

    def score(model: nn.Module) -> float:
        g = torch.Generator().manual_seed(2)
        x = task.x_test
        noise, level = torch.randn(x.shape, generator=g), torch.rand(len(x), 1, generator=g)
        return 1 - float(denoised(model, x, noise, level).detach())

    return Training(model, step, Adam(model.parameters(), 3e-3), score)
