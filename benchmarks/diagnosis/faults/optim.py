"""Optimisation: rates, momentum, decay and penalties."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from diagnosis.data import cancer, digits, houses, lookup, recall, supervised, text, wine
from diagnosis.nets import Reader, Transformer, cnn, he, mlp, resnet
from diagnosis.registry import Training, fault


@fault("optim/sgd-rate-high", 3, "learning-rate", why="rate 50 times the stable one")
def sgd_rate_high(seed: int, fixed: bool) -> Training:
    model = he(mlp(64, 10, depth=4))
    optimizer = SGD(model.parameters(), 0.05 if fixed else 5.0, momentum=0.9)
    return supervised(digits(), model, optimizer, seed)


@fault("optim/sgd-rate-high-linear", 3, "learning-rate", why="rate above 2/sharpness, linear model")
def sgd_rate_high_linear(seed: int, fixed: bool) -> Training:
    model = nn.Linear(8, 1)
    return supervised(houses(), model, SGD(model.parameters(), 0.05 if fixed else 1.5), seed)


@fault("optim/adam-rate-high-cnn", 3, "learning-rate dead-units", why="Adam at 0.5 on a CNN")
def adam_rate_high_cnn(seed: int, fixed: bool) -> Training:
    model = cnn(depth=3)
    return supervised(digits(True), model, Adam(model.parameters(), 3e-3 if fixed else 0.5), seed)


@fault("optim/adam-rate-high-transformer", 3, "learning-rate attention-scale", why="Adam at 0.3")
def adam_rate_high_transformer(seed: int, fixed: bool) -> Training:
    model = Transformer(64, 64, d=32, layers=2, every=True, causal=True)
    optimizer = Adam(model.parameters(), 3e-3 if fixed else 0.3)
    return supervised(text(), model, optimizer, seed, batch=16, judged_after=120)


@fault("optim/adam-rate-high-lstm", 3, "learning-rate", why="Adam at 1 on an LSTM")
def adam_rate_high_lstm(seed: int, fixed: bool) -> Training:
    model = Reader(nn.LSTM(32, 32, batch_first=True), 64, 64, 32, every=True)
    optimizer = Adam(model.parameters(), 1e-2 if fixed else 1.0)
    return supervised(text(), model, optimizer, seed, batch=16)


@fault("optim/sgd-rate-low", 3, "learning-rate", why="rate 1e-6: updates of 1e-8 of the weights")
def sgd_rate_low(seed: int, fixed: bool) -> Training:
    model = he(mlp(64, 10, depth=3))
    return supervised(digits(), model, SGD(model.parameters(), 0.1 if fixed else 1e-6), seed)


@fault("optim/adam-rate-low", 3, "learning-rate", why="Adam at 1e-7 moves weights 1e-5 in all")
def adam_rate_low(seed: int, fixed: bool) -> Training:
    model = Reader(nn.GRU(32, 32, batch_first=True), 64, 64, 32, every=True)
    optimizer = Adam(model.parameters(), 1e-2 if fixed else 1e-7)
    return supervised(text(), model, optimizer, seed, batch=16)


@fault("optim/adamw-rate-low-houses", 3, "learning-rate", why="AdamW at 3e-7 on a regression")
def adamw_rate_low(seed: int, fixed: bool) -> Training:
    model = mlp(8, 1, depth=3)
    return supervised(houses(), model, AdamW(model.parameters(), 3e-3 if fixed else 3e-7), seed)


@fault(
    "optim/momentum-999",
    3,
    "learning-rate optimizer-state",
    why="momentum 0.999 multiplies a good rate by 1000",
)
def momentum_999(seed: int, fixed: bool) -> Training:
    model = he(mlp(30, 1, depth=3))
    optimizer = SGD(model.parameters(), 0.1, momentum=0.9 if fixed else 0.9995)
    return supervised(cancer(), model, optimizer, seed)


@fault("optim/sgd-decay", 3, "weight-decay", why="decay 0.5 at rate 0.2 removes 10 % per step")
def sgd_decay(seed: int, fixed: bool) -> Training:
    model = he(mlp(64, 10, depth=4))
    decay = 1e-4 if fixed else 0.5
    return supervised(digits(), model, SGD(model.parameters(), 0.2, weight_decay=decay), seed)


@fault("optim/adamw-decay", 3, "weight-decay", why="decoupled decay of 30 at rate 1e-2")
def adamw_decay(seed: int, fixed: bool) -> Training:
    model = cnn(depth=3)
    decay = 1e-2 if fixed else 30.0
    return supervised(
        digits(True), model, AdamW(model.parameters(), 1e-2, weight_decay=decay), seed
    )


@fault("optim/adam-l2", 3, "weight-decay regularization", why="L2 of 1 inside Adam drowns the data")
def adam_l2(seed: int, fixed: bool) -> Training:
    model = Reader(nn.GRU(32, 32, batch_first=True), 64, 64, 32, every=True)
    optimizer = Adam(model.parameters(), 1e-2, weight_decay=0 if fixed else 1.0)
    return supervised(text(), model, optimizer, seed, batch=16)


@fault("optim/adam-eps", 3, "optimizer-state learning-rate", why="eps 10 (meant 1e-8) in Adam")
def adam_eps(seed: int, fixed: bool) -> Training:
    model = mlp(64, 10, depth=4)
    return supervised(
        digits(), model, Adam(model.parameters(), 1e-3, eps=1e-8 if fixed else 10.0), seed
    )


def _penalised(seed: int, model: nn.Module, task, weight: float, power: int) -> Training:
    training = supervised(task, model, SGD(model.parameters(), 0.02), seed)
    data = training.step

    def step(model: nn.Module) -> Tensor:
        penalty = sum(p.abs().pow(power).sum() for p in model.parameters())
        return data(model) + weight * penalty

    training.step = step
    return training


@fault("optim/l1-outweighs", 3, "regularization weight-decay", why="L1 with weight 0.3 in the loss")
def l1_outweighs(seed: int, fixed: bool) -> Training:
    return _penalised(seed, he(mlp(64, 10, depth=3)), digits(), 1e-5 if fixed else 0.3, 1)


@fault("optim/l2-outweighs", 3, "regularization weight-decay", why="L2 with weight 5 in the loss")
def l2_outweighs(seed: int, fixed: bool) -> Training:
    return _penalised(seed, he(mlp(8, 1, depth=3)), houses(), 1e-5 if fixed else 5.0, 2)


@fault(
    "optim/dropout-095",
    3,
    "regularization noise",
    why="dropout 0.95 behind every layer: the signal is noise",
)
def dropout_095(seed: int, fixed: bool) -> Training:
    p = 0.1 if fixed else 0.95
    model = nn.Sequential(
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Dropout(p),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Dropout(p),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Dropout(p),
        nn.Linear(64, 10),
    )
    return supervised(digits(), model, Adam(model.parameters(), 2e-3), seed)


@fault("optim/batch-one-high-rate", 3, "noise learning-rate", why="one sample a step at rate 0.5")
def batch_one(seed: int, fixed: bool) -> Training:
    model = he(mlp(13, 3, depth=3))
    rate, batch = (0.05, 16) if fixed else (0.5, 1)
    return supervised(wine(), model, SGD(model.parameters(), rate), seed, batch=batch)


@fault(
    "optim/vae-beta",
    3,
    "regularization",
    why="KL weighted by 1000: the posterior collapses and the decoder knows only the mean",
)
def vae_beta(seed: int, fixed: bool) -> Training:
    return vae_training(seed, 0.1 if fixed else 1000.0)


def vae_training(seed: int, beta: float, warm: int = 0) -> Training:
    """A VAE on digits; skill is the share of variance its reconstruction explains."""

    class Vae(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = mlp(64, 16, depth=2), mlp(8, 64, depth=2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            mean, log_var = self.encoder(x).chunk(2, -1)
            noise = torch.randn(mean.shape) if self.training else torch.zeros_like(mean)
            return self.decoder(mean + noise * (log_var / 2).exp()), mean, log_var

    model, task, count = Vae(), digits(), 0
    draw = task.batches(64, seed)

    def step(model: nn.Module) -> Tensor:
        nonlocal count
        count += 1
        x, _ = draw()
        out, mean, log_var = model(x)
        kl = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(-1).mean()
        return ((out - x) ** 2).sum(-1).mean() + beta * min(1, count / (warm or 1)) * kl

    def score(model: nn.Module) -> float:
        model.eval()
        with torch.no_grad():
            error = float(((model(task.x_test)[0] - task.x_test) ** 2).mean())
        model.train()
        return 1 - error / float(((task.x_test - task.x.mean(0)) ** 2).mean())

    return Training(model, step, Adam(model.parameters(), 3e-3), score)


@fault("optim/rmsprop-rate-high-resnet", 3, "learning-rate", why="RMSprop at 1 on a residual CNN")
def rmsprop_rate_high(seed: int, fixed: bool) -> Training:
    model = resnet(blocks=2, channels=8)
    optimizer = torch.optim.RMSprop(model.parameters(), 2e-3 if fixed else 3.0)
    return supervised(digits(True), model, optimizer, seed, batch=32, judged_after=150)


@fault(
    "optim/group-rate-zero",
    3,
    "learning-rate frozen optimizer-state",
    "embedding core",
    why="the body's parameter group has rate 0; the head alone cannot solve the task",
)
def group_rate_zero(seed: int, fixed: bool) -> Training:
    core = nn.LSTM(32, 32, batch_first=True)
    core.bias_ih_l0.data[32:64] = 3.0
    model = Reader(core, 4, 4, 32)
    body = [*model.embedding.parameters(), *model.core.parameters()]
    groups = [
        {"params": body, "lr": 1e-2 if fixed else 0.0},
        {"params": list(model.head.parameters()), "lr": 1e-2},
    ]
    return supervised(recall(16), model, Adam(groups), seed, judged_after=250)


@fault("optim/lookup-rate-low", 3, "learning-rate", why="SGD at 1e-5 on a transformer")
def lookup_rate_low(seed: int, fixed: bool) -> Training:
    model = Transformer(8, 4, d=32, layers=2, time=12)
    optimizer = Adam(model.parameters(), 3e-3) if fixed else SGD(model.parameters(), 1e-5)
    return supervised(lookup(), model, optimizer, seed, judged_after=300)
