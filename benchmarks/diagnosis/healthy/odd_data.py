"""Data that look wrong and are not, and half-width numbers that suffice."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam

from diagnosis.data import Task, cancer, digits, houses, lookup, parity, supervised, text, wine
from diagnosis.loops import scaled
from diagnosis.nets import Reader, Times, cnn, he, mlp
from diagnosis.registry import Training, healthy


def _noisy(share: float):
    def change(y: Tensor) -> Tensor:
        g = torch.Generator().manual_seed(4)
        wrong = torch.rand(len(y), generator=g) < share
        return torch.where(wrong, torch.randint(10, y.shape, generator=g), y)

    return change


@healthy("odd-data/label-noise", why="a third of the labels are random: the loss stays high")
def label_noise(seed: int, fixed: bool) -> Training:
    model = mlp(64, 10, depth=3)
    task = digits().targets(_noisy(0.33))
    return supervised(task, model, Adam(model.parameters(), 3e-3), seed)


@healthy("odd-data/label-noise-heavy", why="60 % random labels still leave a signal")
def label_noise_heavy(seed: int, fixed: bool) -> Training:
    model = cnn(depth=3)
    task = digits(True).targets(_noisy(0.6))
    return supervised(task, model, Adam(model.parameters(), 3e-3), seed)


@healthy("odd-data/large-targets", why="targets near 200 with a head that is scaled to them")
def large_targets(seed: int, fixed: bool) -> Training:
    model = nn.Sequential(*mlp(8, 1, depth=3), Times(100.0))
    task = houses(target_scale=100.0)
    return supervised(task, model, Adam(model.parameters(), 1e-2), seed)


@healthy("odd-data/large-targets-plain", why="targets near 20: the loss begins at 500 and falls")
def large_targets_plain(seed: int, fixed: bool) -> Training:
    model = mlp(8, 1, depth=3)
    task = houses(target_scale=10.0)
    return supervised(task, model, Adam(model.parameters(), 1e-2), seed)


@healthy("odd-data/one-hot-sparse", why="inputs of 96 columns with twelve ones")
def one_hot(seed: int, fixed: bool) -> Training:
    task = lookup().map(lambda x: F.one_hot(x, 8).flatten(1).float())
    model = mlp(96, 4, depth=3)
    return supervised(task, model, Adam(model.parameters(), 3e-3), seed)


@healthy("odd-data/imbalanced", why="one positive in ten")
def imbalanced(seed: int, fixed: bool) -> Training:
    task = digits()
    y, y_test = (task.y == 3).float(), (task.y_test == 3).float()
    task = Task(task.x, y, task.x_test, y_test, "binary")
    model = mlp(64, 1, depth=3)
    return supervised(task, model, Adam(model.parameters(), 3e-3), seed)


@healthy("odd-data/mostly-ignored", why="90 % of the places are padding with ignored labels")
def mostly_ignored(seed: int, fixed: bool) -> Training:
    def hide(y: Tensor) -> Tensor:
        keep = torch.rand(y.shape, generator=torch.Generator().manual_seed(1)) < 0.1
        return torch.where(keep, y, -100)

    model = Reader(nn.GRU(32, 32, batch_first=True), 64, 64, 32, every=True)
    task = text().targets(hide)
    return supervised(task, model, Adam(model.parameters(), 1e-2), seed)


@healthy("odd-data/pixels-0-255", why="raw pixels meet a batch norm first")
def pixels(seed: int, fixed: bool) -> Training:
    task = digits(True).map(lambda x: (x + 0.3) * 255)
    model = nn.Sequential(nn.BatchNorm2d(1), *cnn(depth=3))
    return supervised(task, model, Adam(model.parameters(), 3e-3), seed)


@healthy("odd-data/raw-wine-normed", why="raw columns up to 1700 meet a batch norm first")
def raw_wine(seed: int, fixed: bool) -> Training:
    model = nn.Sequential(nn.BatchNorm1d(13), *mlp(13, 3, depth=3))
    return supervised(wine(True), model, Adam(model.parameters(), 1e-2), seed)


@healthy("odd-data/sum-loss", why="a summed loss whose rate was divided to fit")
def sum_loss(seed: int, fixed: bool) -> Training:
    model = he(mlp(64, 10, depth=3))

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(out, y, reduction="sum")

    return supervised(digits(), model, SGD(model.parameters(), 0.1 / 64), seed, loss=loss)


@healthy("odd-data/small-loss-scale", why="a loss of 1e-6 under Adam: only its shape counts")
def small_loss(seed: int, fixed: bool) -> Training:
    model = mlp(64, 10, depth=3)
    optimizer = Adam(model.parameters(), 3e-3, eps=1e-16)
    return supervised(
        digits(), model, optimizer, seed, loss=lambda out, y: 1e-6 * F.cross_entropy(out, y)
    )


@healthy("odd-data/negative-loss", why="a Gaussian likelihood may be below 0 and fall on")
def negative_loss(seed: int, fixed: bool) -> Training:
    class Gaussian(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean, self.log_width = mlp(8, 1, depth=3), nn.Parameter(torch.tensor(-1.0))

        def forward(self, x: Tensor) -> Tensor:
            return self.mean(x)

    model, task = Gaussian(), houses(target_scale=0.1)
    draw = task.batches(64, seed)

    def step(model: nn.Module) -> Tensor:
        x, y = draw()
        z = (model(x).flatten() - y) / model.log_width.exp()
        return 0.5 * z.square().mean() + model.log_width

    return Training(model, step, Adam(model.parameters(), 3e-3), task.score)


@healthy("odd-data/contrastive", why="the loss couples the samples of a batch, as InfoNCE must")
def contrastive(seed: int, fixed: bool) -> Training:
    model, task = mlp(64, 16, depth=2), digits()
    g, draw = torch.Generator().manual_seed(seed), task.batches(64, seed)

    def views(x: Tensor) -> Tensor:
        return x * (torch.rand(x.shape, generator=g) > 0.3)

    def step(model: nn.Module) -> Tensor:
        x, _ = draw()
        a, b = (F.normalize(model(views(x)), dim=-1) for _ in range(2))
        return F.cross_entropy(a @ b.T / 0.2, torch.arange(64))

    def score(model: nn.Module) -> float:
        with torch.no_grad():
            h, t = model(task.x[:300]), model(task.x_test)
            near = task.y[:300][torch.cdist(F.normalize(t), F.normalize(h)).argmin(1)]
        return float((near == task.y_test).float().mean() - 0.1) / 0.9

    return Training(model, step, Adam(model.parameters(), 3e-3), score)


@healthy("odd-data/parity", why="parity: the loss stays at ln 2, then drops")
def plateau_parity(seed: int, fixed: bool) -> Training:
    model = mlp(8, 2, depth=3)
    return supervised(parity(), model, Adam(model.parameters(), 1e-3), seed, judged_after=600)


@healthy("odd-data/policy-gradient", why="the sign and size of this loss mean nothing")
def policy(seed: int, fixed: bool) -> Training:
    model, task = mlp(13, 3, depth=2), wine()
    draw, g = task.batches(64, seed), torch.Generator().manual_seed(seed)

    def step(model: nn.Module) -> Tensor:
        x, y = draw()
        log_p = model(x).log_softmax(-1)
        act = torch.multinomial(log_p.exp().detach(), 1, generator=g)
        reward = (act.flatten() == y).float()
        return -(log_p.gather(1, act).flatten() * (reward - reward.mean())).mean()

    return Training(model, step, Adam(model.parameters(), 1e-2), task.score)


@healthy("odd-data/bfloat16", why="bf16 weights at a rate whose updates land")
def bf16(seed: int, fixed: bool) -> Training:
    model = he(mlp(64, 10, depth=3)).to(torch.bfloat16)
    task = digits().map(lambda x: x.to(torch.bfloat16))
    return supervised(task, model, Adam(model.parameters(), 3e-3), seed)


@healthy("odd-data/autocast", why="bf16 autocast over fp32 weights")
def autocast(seed: int, fixed: bool) -> Training:
    model, task = cnn(depth=3), digits(True)
    draw = task.batches(64, seed)

    def step(model: nn.Module) -> Tensor:
        x, y = draw()
        with torch.autocast("cpu", torch.bfloat16):
            out = model(x)
        return F.cross_entropy(out.float(), y)

    return Training(model, step, Adam(model.parameters(), 3e-3), task.score)


@healthy("odd-data/fp16-scaled", why="fp16 with a loss scale of 1024 that fits")
def fp16_scaled(seed: int, fixed: bool) -> Training:
    model = he(mlp(30, 1, depth=3)).to(torch.float16)
    task = cancer().map(lambda x: x.half())
    task = task.targets(lambda y: y.half())
    training = supervised(task, model, SGD(model.parameters(), 0.1), seed)
    training.train_step = scaled(training.step, 2.0**10)
    return training


@healthy("odd-data/dropout-half", why="dropout at 0.5 makes the loss noisy")
def dropout(seed: int, fixed: bool) -> Training:
    model = nn.Sequential(
        nn.Linear(64, 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, 10),
    )
    return supervised(digits(), model, Adam(model.parameters(), 3e-3), seed)
