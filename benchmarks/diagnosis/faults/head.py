"""Faults of the loss head: what is done to the outputs, and numerics of the loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam

from diagnosis.data import cancer, digits, houses, lookup, supervised, text, wine
from diagnosis.nets import Reader, Times, Transformer, cnn, he, mlp
from diagnosis.registry import Training, fault


@fault("head/softmax-then-ce", 4, "loss-head", why="softmax, then cross-entropy on its output")
def softmax_then_ce(seed: int, fixed: bool) -> Training:
    model = mlp(64, 10, depth=3)
    if not fixed:
        model.append(nn.Softmax(dim=-1))
    return supervised(digits(), model, SGD(model.parameters(), 0.1), seed)


@fault("head/softmax-then-ce-text", 4, "loss-head", why="the same over 64 characters")
def softmax_then_ce_text(seed: int, fixed: bool) -> Training:
    model = Reader(nn.LSTM(32, 32, batch_first=True), 64, 64, 32, every=True)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        out = out if fixed else out.softmax(-1)
        return F.cross_entropy(out.flatten(0, 1), y.flatten())

    return supervised(text(), model, Adam(model.parameters(), 1e-2), seed, batch=16, loss=loss)


@fault("head/softmax-one-unit", 4, "loss-head", why="softmax over one unit is 1 for any input")
def softmax_one_unit(seed: int, fixed: bool) -> Training:
    model = mlp(30, 1, depth=3)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        if fixed:
            return F.binary_cross_entropy_with_logits(out.flatten(), y)
        return F.mse_loss(out.softmax(-1).flatten(), y)

    return supervised(cancer(), model, Adam(model.parameters(), 1e-2), seed, loss=loss)


@fault(
    "head/sigmoid-range",
    4,
    "loss-head labels data",
    why="a sigmoid output cannot reach targets around 200",
)
def sigmoid_range(seed: int, fixed: bool) -> Training:
    model = mlp(8, 1, depth=3)
    task = houses(target_scale=100.0)
    if not fixed:
        model.append(nn.Sigmoid())
    model = nn.Sequential(*model, Times(100.0 if fixed else 1.0))
    return supervised(task, model, Adam(model.parameters(), 3e-2), seed)


@fault(
    "head/relu-output",
    4,
    "loss-head dead-units",
    why="ReLU on the output of a regression whose targets are negative",
)
def relu_output(seed: int, fixed: bool) -> Training:
    model = mlp(8, 1, depth=3)
    task = houses()
    shifted = task.targets(lambda y: y - 3)
    shifted = type(task)(task.x, shifted.y, task.x_test, task.y_test - 3, "values")
    if not fixed:
        model.append(nn.ReLU())
    return supervised(shifted, model, Adam(model.parameters(), 1e-2), seed)


@fault("head/clamped-output", 4, "loss-head", why="outputs clamped to [0, 0.05]: no slope outside")
def clamped_output(seed: int, fixed: bool) -> Training:
    model = mlp(8, 1, depth=3)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return F.mse_loss((out if fixed else out.clamp(0, 0.05)).flatten(), y)

    return supervised(houses(), model, Adam(model.parameters(), 1e-2), seed, loss=loss)


@fault("head/double-sigmoid", 4, "loss-head", why="sigmoid inside and outside: outputs 0.5 to 0.73")
def double_sigmoid(seed: int, fixed: bool) -> Training:
    model = mlp(30, 1, depth=5)
    if not fixed:
        model.append(nn.Sigmoid())
    return supervised(cancer(), model, SGD(model.parameters(), 0.1), seed)


@fault("head/nll-on-logits", 4, "loss-head", why="nll_loss without log_softmax: unbounded below")
def nll_on_logits(seed: int, fixed: bool) -> Training:
    model = cnn(depth=3)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return F.nll_loss(out.log_softmax(-1) if fixed else out, y)

    return supervised(digits(True), model, SGD(model.parameters(), 0.1), seed, loss=loss)


@fault(
    "head/broadcast-loss", 4, "loss-shape", why="(N, 1) minus (N,) is (N, N): the mean is learnt"
)
def broadcast_loss(seed: int, fixed: bool) -> Training:
    model = mlp(8, 1, depth=3)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return ((out.flatten() if fixed else out) - y).square().mean()

    return supervised(houses(), model, Adam(model.parameters(), 3e-3), seed, loss=loss)


@fault("head/batch-softmax", 4, "loss-shape loss-head", why="softmax over the batch axis")
def batch_softmax(seed: int, fixed: bool) -> Training:
    model = nn.Sequential(*mlp(30, 1, depth=3), nn.Identity() if fixed else nn.Softmax(dim=0))

    def loss(out: Tensor, y: Tensor) -> Tensor:
        if fixed:
            return F.binary_cross_entropy_with_logits(out.flatten(), y)
        return F.binary_cross_entropy(out.flatten(), y)

    return supervised(cancer(), model, Adam(model.parameters(), 1e-2), seed, loss=loss)


@fault(
    "head/batch-attention",
    4,
    "loss-shape attention-scale",
    "blocks",
    why="attention weights are normalised over the batch instead of the keys",
)
def batch_attention(seed: int, fixed: bool) -> Training:
    model = Transformer(8, 4, d=32, layers=2, time=12, axis=-1 if fixed else 0)
    return supervised(lookup(), model, Adam(model.parameters(), 3e-3), seed, judged_after=40)


@fault("head/view-not-transpose", 4, "loss-shape", why="(B, T, C) viewed as (B, C, T) for the loss")
def view_not_transpose(seed: int, fixed: bool) -> Training:
    model = Reader(nn.GRU(32, 32, batch_first=True), 64, 64, 32, every=True)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        b, t, c = out.shape
        return F.cross_entropy(out.transpose(1, 2) if fixed else out.reshape(b, c, t), y)

    return supervised(text(), model, Adam(model.parameters(), 1e-2), seed, batch=16, loss=loss)


@fault("head/sum-reduction", 4, "loss-shape learning-rate", why="the sum over 64 samples as loss")
def sum_reduction(seed: int, fixed: bool) -> Training:
    model = he(mlp(64, 10, depth=3))

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(out, y, reduction="mean" if fixed else "sum")

    return supervised(digits(), model, SGD(model.parameters(), 0.1), seed, loss=loss)


@fault("head/log-of-zero", 4, "numerics loss-head", why="log of a probability clipped by a ReLU")
def log_of_zero(seed: int, fixed: bool) -> Training:
    model = mlp(64, 10, depth=3)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        p = out.softmax(-1) if fixed else out.relu()
        return -(p.gather(1, y[:, None])).log().mean()

    return supervised(digits(), model, SGD(model.parameters(), 0.1), seed, loss=loss)


@fault("head/sqrt-at-zero", 4, "numerics", why="sqrt of a squared distance that is 0 for pairs")
def sqrt_at_zero(seed: int, fixed: bool) -> Training:
    model = mlp(13, 3, depth=3)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        square = (out[:, None] - out[None]).square().sum(-1)
        distance = (square + 1e-8).sqrt() if fixed else square.sqrt()
        return F.cross_entropy(out, y) + 1e-3 * distance.mean()

    return supervised(wine(), model, Adam(model.parameters(), 3e-3), seed, loss=loss)


@fault(
    "head/where-nan",
    4,
    "numerics",
    why="where() hides the root of 0 forward; backward 0 times infinity is NaN",
)
def where_nan(seed: int, fixed: bool) -> Training:
    model = mlp(8, 1, depth=3)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        square = (out - out.T).square()
        inner = torch.where(square > 0, square, 1.0) if fixed else square
        distance = torch.where(square > 0, inner.sqrt(), 0.0)
        return F.mse_loss(out.flatten(), y) - 1e-3 * distance.mean()

    return supervised(houses(), model, Adam(model.parameters(), 3e-3), seed, loss=loss)


@fault("head/divide-by-norm", 4, "numerics", why="cosine head divides by the norm of a zero vector")
def divide_by_norm(seed: int, fixed: bool) -> Training:
    class Cosine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(64, 4), nn.Linear(4, 10)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.relu(self.body(x))
            norm = h.norm(dim=-1, keepdim=True)
            return self.head(3 * h / (norm + 1e-3 if fixed else norm))

    model = Cosine()
    return supervised(digits(), model, Adam(model.parameters(), 1e-2), seed)
