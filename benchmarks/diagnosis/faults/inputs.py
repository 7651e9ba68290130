"""Faults of the data: labels, scales, and what reaches the model."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam

from diagnosis.data import cancer, digits, houses, lookup, recall, supervised, text, wine
from diagnosis.nets import Reader, Transformer, cnn, he, mlp
from diagnosis.registry import Training, fault


def _shuffled(y: Tensor) -> Tensor:
    return y[torch.randperm(len(y), generator=torch.Generator().manual_seed(2))]


@fault("inputs/labels-shuffled", 4, "labels data", why="labels independent of the inputs")
def labels_shuffled(seed: int, fixed: bool) -> Training:
    task = digits() if fixed else digits().targets(_shuffled)
    model = mlp(64, 10, depth=3)
    return supervised(task, model, Adam(model.parameters(), 3e-3), seed)


@fault("inputs/labels-shuffled-regression", 4, "labels data", why="targets of other rows")
def labels_shuffled_regression(seed: int, fixed: bool) -> Training:
    task = houses() if fixed else houses().targets(_shuffled)
    model = mlp(8, 1, depth=3)
    return supervised(task, model, Adam(model.parameters(), 3e-3), seed)


@fault("inputs/labels-ignored", 4, "labels numerics loss-head", why="every label is ignore_index")
def labels_ignored(seed: int, fixed: bool) -> Training:
    task = text() if fixed else text().targets(lambda y: torch.full_like(y, -100))
    model = Reader(nn.GRU(32, 32, batch_first=True), 64, 64, 32, every=True)
    return supervised(task, model, Adam(model.parameters(), 1e-2), seed, batch=16)


@fault("inputs/labels-constant", 4, "labels data", why="a bug in loading sets every label to 0")
def labels_constant(seed: int, fixed: bool) -> Training:
    task = cancer() if fixed else cancer().targets(torch.zeros_like)
    model = mlp(30, 1, depth=3)
    return supervised(task, model, Adam(model.parameters(), 3e-3), seed)


@fault("inputs/labels-constant-classes", 4, "labels data", why="every label is class 3")
def labels_constant_classes(seed: int, fixed: bool) -> Training:
    task = digits(True) if fixed else digits(True).targets(lambda y: torch.full_like(y, 3))
    model = cnn(depth=3, norm=True)
    return supervised(task, model, SGD(model.parameters(), 0.1), seed)


@fault(
    "inputs/labels-one-two",
    4,
    "labels loss-head",
    why="binary labels 1 and 2: the loss has no minimum",
)
def labels_one_two(seed: int, fixed: bool) -> Training:
    task = cancer() if fixed else cancer().targets(lambda y: y + 1)
    model = mlp(30, 1, depth=3)
    return supervised(task, model, Adam(model.parameters(), 1e-2), seed)


@fault("inputs/raw-cancer", 4, "input-scale data", why="columns from 0.001 to 4000 in a ReLU net")
def raw_cancer(seed: int, fixed: bool) -> Training:
    model = he(mlp(30, 1, depth=3))
    return supervised(cancer(not fixed), model, SGD(model.parameters(), 0.05), seed)


@fault("inputs/raw-houses-adam", 4, "input-scale data", why="one column of 1000 among units")
def raw_houses(seed: int, fixed: bool) -> Training:
    model = mlp(8, 1, depth=3)
    return supervised(houses(not fixed), model, Adam(model.parameters(), 3e-3), seed)


@fault("inputs/scaled-twice", 4, "input-scale data", why="pixels divided by 255 twice")
def scaled_twice(seed: int, fixed: bool) -> Training:
    task = digits(True) if fixed else digits(True).map(lambda x: x / 65025)
    model = cnn(depth=3)
    return supervised(task, model, SGD(model.parameters(), 0.05, momentum=0.9), seed)


@fault(
    "inputs/targets-unscaled",
    4,
    "labels data loss-head learning-rate",
    why="prices of 100000 with a squared loss at rate 0.01",
)
def targets_unscaled(seed: int, fixed: bool) -> Training:
    task = houses() if fixed else houses(target_scale=1e5)
    model = he(mlp(8, 1, depth=3))
    return supervised(task, model, SGD(model.parameters(), 0.01), seed)


@fault("inputs/nan-feature", 4, "data numerics", why="a missing value in one row of ten")
def nan_feature(seed: int, fixed: bool) -> Training:
    task = wine()
    if not fixed:
        x = task.x.clone()
        x[::10, 4] = math.nan
        task = type(task)(x, task.y, task.x_test, task.y_test, task.kind)
    model = mlp(13, 3, depth=2)
    return supervised(task, model, Adam(model.parameters(), 1e-2), seed)


@fault(
    "inputs/zero-variance", 4, "data numerics", why="0/0 where a constant column is standardised"
)
def zero_variance(seed: int, fixed: bool) -> Training:
    task = digits()
    # Corner pixels are always empty.
    low, high = task.x.min(0).values, task.x.max(0).values
    span = (high - low).clamp_min(1e-3) if fixed else high - low
    task = task.map(lambda x: (x - low) / span)
    model = mlp(64, 10, depth=2)
    return supervised(task, model, Adam(model.parameters(), 1e-2), seed)


@fault("inputs/same-row", 4, "data labels", why="an index bug: x is always row 0, y is not")
def same_row(seed: int, fixed: bool) -> Training:
    task = wine()
    if not fixed:
        rows = task.x[:1].expand_as(task.x).contiguous()
        task = type(task)(rows, task.y, task.x_test, task.y_test, task.kind)
    model = mlp(13, 3, depth=3)
    return supervised(task, model, Adam(model.parameters(), 1e-2), seed)


@fault("inputs/zeroed", 4, "data input-scale dead-units", why="uint8 division gave all-zero images")
def zeroed(seed: int, fixed: bool) -> Training:
    task = digits(True)
    if not fixed:
        task = type(task)(task.x * 0, task.y, task.x_test, task.y_test, task.kind)
    model = cnn(depth=3)
    return supervised(task, model, Adam(model.parameters(), 3e-3), seed)


@fault(
    "inputs/reshape-mixes-batch",
    4,
    "loss-shape data",
    why="(B, T, d) reshaped to (T, B, d): samples leak into each other",
)
def reshape_mixes_batch(seed: int, fixed: bool) -> Training:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core, self.head = nn.GRU(8, 32), nn.Linear(32, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = x.view(-1, 8, 8)
            x = x.transpose(0, 1) if fixed else x.reshape(8, -1, 8)
            return self.head(self.core(x)[0][-1])

    model = Mixed()
    return supervised(digits(), model, Adam(model.parameters(), 1e-2), seed)


@fault(
    "inputs/pad-mask-inverted",
    4,
    "data attention-scale graph-cut labels",
    why="the padding mask hides the content and keeps the padding",
)
def pad_mask_inverted(seed: int, fixed: bool) -> Training:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(9, 32), mlp(32, 4, depth=2)

        def forward(self, tokens: Tensor) -> Tensor:
            tokens = F.pad(tokens, (0, 4), value=8)
            keep = (tokens != 8) if fixed else (tokens == 8)
            x = self.embedding(tokens) * keep.unsqueeze(-1)
            return self.head(x.sum(1) / keep.sum(1, keepdim=True))

    model = Masked()
    return supervised(lookup(), model, Adam(model.parameters(), 1e-2), seed)


@fault("inputs/recall-cut-off", 4, "data labels", why="left truncation removed what is asked for")
def recall_cut_off(seed: int, fixed: bool) -> Training:
    task = recall(12)
    task = task if fixed else task.map(lambda x: x[:, 1:])
    model = Transformer(4, 4, d=32, layers=1, time=12)
    return supervised(task, model, Adam(model.parameters(), 3e-3), seed)
