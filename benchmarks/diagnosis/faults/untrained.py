"""Faults of the graph: parts that stay as they were drawn although nothing cuts their path."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam

from diagnosis.data import digits, recall, supervised
from diagnosis.faults.graph import narrow
from diagnosis.registry import Training, fault


@fault(
    "graph/frozen-at-random",
    5,
    "frozen",
    "body",
    why="the body was frozen although nothing was pre-trained",
)
def frozen_at_random(seed: int, fixed: bool) -> Training:
    training = narrow(seed, True, None)
    training.model.body.requires_grad_(fixed)  # type: ignore[union-attr]
    return training


@fault(
    "graph/head-frozen",
    5,
    "frozen",
    "head embedding",
    why="a loop over names froze embedding and head; only a norm learns",
)
def head_frozen(seed: int, fixed: bool) -> Training:
    norm = nn.LayerNorm(64)
    model = nn.Sequential()
    model.add_module("body", nn.Linear(64, 64))
    model.add_module("norm", norm)
    model.add_module("head", nn.Linear(64, 10))
    for name, p in model.named_parameters():
        p.requires_grad_(fixed or "norm" in name)
    model = nn.Sequential(model)
    owned = [p for p in model.parameters() if p.requires_grad]
    return supervised(digits(), model, SGD(owned, 0.03), seed, judged_after=100)


@fault(
    "graph/plain-list",
    5,
    "optimizer-state graph-cut frozen",
    why="layers in a Python list are no parameters: never trained",
)
def plain_list(seed: int, fixed: bool) -> Training:
    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers = [nn.Linear(64, 16), nn.Linear(16, 4), nn.Linear(4, 16)]
            self.layers = nn.ModuleList(layers) if fixed else layers
            self.head = nn.Linear(16, 10)

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = torch.tanh(layer(x))
            return self.head(x)

    model = Listed()
    return supervised(digits(), model, Adam(model.parameters(), 1e-2), seed)


@fault(
    "graph/position-unused",
    5,
    "graph-cut",
    "position",
    why="the position table exists but is never added, on a task of positions",
)
def position_unused(seed: int, fixed: bool) -> Training:
    class Placed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.position = nn.Embedding(4, 32), nn.Embedding(12, 32)
            self.core = nn.TransformerEncoderLayer(32, 2, 64, 0.0, batch_first=True)
            self.head = nn.Linear(32, 4)

        def forward(self, tokens: Tensor) -> Tensor:
            x = self.embedding(tokens)
            if fixed:
                x = x + self.position(torch.arange(tokens.shape[1]))
            return self.head(self.core(x).mean(1))

    model = Placed()
    optimizer = Adam(model.parameters(), 3e-3)
    return supervised(recall(12), model, optimizer, seed, judged_after=300)
