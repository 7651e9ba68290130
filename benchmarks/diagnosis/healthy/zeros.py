"""Zeros by design: parts that start, or stay, without gradient."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.optim import SGD, Adam
from torch.utils.checkpoint import checkpoint

from diagnosis.data import digits, houses, lookup, pretrained, supervised, text
from diagnosis.nets import Reader, Residual, Transformer, cnn, he, mlp, resnet
from diagnosis.registry import Training, healthy


@healthy("zeros/zero-init-branch", why="last layer of each residual branch starts at 0 (Fixup)")
def zero_init_branch(seed: int, fixed: bool) -> Training:
    branches = [
        Residual(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))) for _ in range(6)
    ]
    model = he(nn.Sequential(nn.Linear(64, 64), *branches, nn.Linear(64, 10)))
    for block in branches:
        nn.init.zeros_(block.branch[2].weight)  # type: ignore[index]
    return supervised(digits(), model, Adam(model.parameters(), 2e-3), seed)


@healthy("zeros/zero-gamma-resnet", why="gamma of each branch's last batch norm is 0")
def zero_gamma(seed: int, fixed: bool) -> Training:
    model = resnet(blocks=3, channels=8)
    for block in model:
        if isinstance(block, Residual):
            nn.init.zeros_(block.branch[-1].weight)  # type: ignore[index]
    return supervised(
        digits(True), model, SGD(model.parameters(), 0.1), seed, batch=32, judged_after=100
    )


@healthy("zeros/zero-head", why="the head starts at 0, so the body waits one step")
def zero_head(seed: int, fixed: bool) -> Training:
    model = he(mlp(64, 10, depth=3))
    nn.init.zeros_(model[-1].weight)
    return supervised(digits(), model, SGD(model.parameters(), 0.1), seed)


class Lora(nn.Module):
    """A frozen linear layer with a low-rank update whose second factor starts at 0."""

    def __init__(self, base: nn.Linear, rank: int = 4):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Base and update."""
        return self.base(x) + self.up(self.down(x))


@healthy("zeros/lora", why="B = 0: A has no gradient at first, the base never")
def lora(seed: int, fixed: bool) -> Training:
    layers = [Lora(m) if isinstance(m, nn.Linear) else m for m in pretrained()]
    model = nn.Sequential(*layers)
    # The new task is another order of the classes.
    task = digits()
    task = type(task)(task.x, 9 - task.y, task.x_test, 9 - task.y_test, "classes")
    owned = [p for p in model.parameters() if p.requires_grad]
    return supervised(task, model, Adam(owned, 1e-2), seed)


@healthy("zeros/frozen-backbone", why="a trained body is frozen, a new head learns")
def frozen_backbone(seed: int, fixed: bool) -> Training:
    model = pretrained()
    model.requires_grad_(False)
    model[-1] = nn.Linear(64, 10)
    return supervised(digits(), model, Adam(model[-1].parameters(), 1e-2), seed)


@healthy(
    "zeros/fine-tune-small-rate",
    why="all layers at a small rate after training",
    static="it starts near its optimum",
)
def fine_tune(seed: int, fixed: bool) -> Training:
    model = pretrained()
    return supervised(digits(), model, Adam(model.parameters(), 1e-4), seed)


@healthy("zeros/frozen-embedding", why="a fixed random embedding under a learning core")
def frozen_embedding(seed: int, fixed: bool) -> Training:
    model = Reader(nn.GRU(32, 32, batch_first=True), 64, 64, 32, every=True)
    model.embedding.requires_grad_(False)
    owned = [p for p in model.parameters() if p.requires_grad]
    return supervised(text(), model, Adam(owned, 1e-2), seed, batch=16)


@healthy("zeros/unrouted-experts", why="top-1 of 16 experts on 8 samples: most rest")
def unrouted(seed: int, fixed: bool) -> Training:
    class Sparse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.router = nn.Linear(64, 16)
            self.experts = nn.ModuleList(nn.Linear(64, 10) for _ in range(16))

        def forward(self, x: Tensor) -> Tensor:
            gate, chosen = self.router(x).softmax(-1).max(-1)
            rows = [
                self.experts[int(i)](x[n]) * g * 16
                for n, (g, i) in enumerate(zip(gate, chosen, strict=True))
            ]
            return torch.stack(rows)

    model = Sparse()
    return supervised(digits(), model, Adam(model.parameters(), 1e-2), seed, batch=8)


@healthy("zeros/stochastic-depth", why="half of the branches are skipped in each step")
def stochastic_depth(seed: int, fixed: bool) -> Training:
    model = resnet(blocks=4, channels=8, keep=0.5)
    optimizer = SGD(model.parameters(), 0.05, momentum=0.9)
    return supervised(digits(True), model, optimizer, seed, batch=32, judged_after=100)


@healthy("zeros/sparse-embedding", why="rows of a large table that no sample names get nothing")
def sparse_embedding(seed: int, fixed: bool) -> Training:
    model = nn.Sequential(nn.EmbeddingBag(5000, 32, sparse=True), nn.Linear(32, 4))
    task = lookup().map(lambda x: x * 500 + 3)
    return supervised(task, model, SGD(model.parameters(), 2.0), seed)


@healthy("zeros/tied-weights", why="embedding and head are one tensor")
def tied(seed: int, fixed: bool) -> Training:
    model = Reader(nn.GRU(32, 32, batch_first=True), 64, 64, 32, every=True)
    nn.init.normal_(model.embedding.weight, std=0.2)
    model.head.weight = model.embedding.weight
    return supervised(text(), model, Adam(model.parameters(), 1e-2), seed, batch=16)


class Highway(nn.Module):
    """`t * f(x) + (1 - t) * x` with gates that start shut."""

    def __init__(self, d: int):
        super().__init__()
        self.value, self.gate = nn.Linear(d, d), nn.Linear(d, d)
        nn.init.constant_(self.gate.bias, -3.0)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, d]` to the same shape."""
        t = torch.sigmoid(self.gate(x))
        return t * F.relu(self.value(x)) + (1 - t) * x


@healthy("zeros/highway", why="carry gates at -3 are meant to be almost shut")
def highway(seed: int, fixed: bool) -> Training:
    model = nn.Sequential(nn.Linear(64, 64), *(Highway(64) for _ in range(8)), nn.Linear(64, 10))
    return supervised(digits(), model, Adam(model.parameters(), 3e-3), seed)


@healthy("zeros/checkpoint", why="non-reentrant checkpoints recompute the forward pass")
def checkpointed(seed: int, fixed: bool) -> Training:
    class Saved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = mlp(64, 32, depth=3), nn.Linear(32, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(checkpoint(self.body, x, use_reentrant=False))

    model = Saved()
    return supervised(digits(), model, Adam(model.parameters(), 3e-3), seed)


@healthy("zeros/weight-norm", why="length and direction of weights are parameters of their own")
def weight_normed(seed: int, fixed: bool) -> Training:
    model = he(mlp(64, 10, depth=3))
    for layer in model:
        if isinstance(layer, nn.Linear):
            weight_norm(layer)
    return supervised(digits(), model, SGD(model.parameters(), 0.1), seed)


@healthy("zeros/unused-pooler", why="a second head that this task never calls")
def unused_pooler(seed: int, fixed: bool) -> Training:
    model = Transformer(8, 4, layers=2, time=12)
    model.pooler = nn.Linear(32, 32)
    return supervised(lookup(), model, Adam(model.parameters(), 3e-3), seed)


@healthy("zeros/prune-mask", why="80 % of the weights are held at 0")
def pruned(seed: int, fixed: bool) -> Training:
    model = he(mlp(64, 10, depth=3), 2.2)
    for layer in model:
        if isinstance(layer, nn.Linear):
            keep = (torch.rand_like(layer.weight) > 0.8).float()
            layer.weight.data *= keep
            layer.weight.register_hook(lambda g, keep=keep: g * keep)
    return supervised(digits(), model, Adam(model.parameters(), 3e-3), seed)


@healthy("zeros/stop-gradient-target", why="a target network is detached, as in BYOL and TD")
def stop_gradient(seed: int, fixed: bool) -> Training:
    class Twins(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.online = mlp(8, 1, depth=3)
            self.target = mlp(8, 1, depth=3).requires_grad_(False)
            self.target.load_state_dict(self.online.state_dict())

        def forward(self, x: Tensor) -> Tensor:
            return self.online(x)

    model, task = Twins(), houses()
    draw = task.batches(64, seed)

    def step(model: nn.Module) -> Tensor:
        x, y = draw()
        value = model(x).flatten()
        goal = y + 0.3 * (model.target(x).flatten() - value).detach()
        return F.mse_loss(value, goal)

    return Training(model, step, Adam(model.parameters(), 3e-3), task.score)


@healthy("zeros/small-auxiliary", why="an auxiliary head at weight 1e-4 gets a small gradient")
def auxiliary(seed: int, fixed: bool) -> Training:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Sequential(*cnn(depth=2)[:-1]), nn.Linear(192, 10)
            self.aux = nn.Linear(192, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x))

    model, task = Two(), digits(True)
    draw = task.batches(64, seed)

    def step(model: nn.Module) -> Tensor:
        x, y = draw()
        h = model.body(x)
        aux = F.mse_loss(model.aux(h).flatten(), x.mean((1, 2, 3)))
        return F.cross_entropy(model.head(h), y) + 1e-4 * aux

    return Training(model, step, Adam(model.parameters(), 3e-3), task.score)
