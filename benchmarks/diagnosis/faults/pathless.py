"""Faults of the graph: choices, draws and weights through which no gradient comes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal
from torch.optim import Adam

from diagnosis.data import Task, digits, supervised
from diagnosis.faults.graph import narrow
from diagnosis.nets import mlp
from diagnosis.registry import Training, fault


class Reversed(torch.autograd.Function):
    """Two times x, with a sign lost in the backward pass."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        """Double it."""
        return x * 2

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        """The wrong way."""
        return -2 * gradients[0]


@fault("pathless/wrong-sign", 5, "non-differentiable graph-cut", "body", why="own backward: -g")
def wrong_sign(seed: int, fixed: bool) -> Training:
    return narrow(seed, fixed, Reversed.apply)


@fault(
    "pathless/global-weight",
    5,
    "optimizer-state frozen graph-cut",
    why="the first layer's weight is a global that no module holds",
)
def global_weight(seed: int, fixed: bool) -> Training:
    weight = (torch.randn(3, 64) / 8).requires_grad_()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rest = mlp(3, 10, depth=2)
            if fixed:
                self.weight = nn.Parameter(weight.detach().clone())

        def forward(self, x: Tensor) -> Tensor:
            return self.rest(torch.tanh(F.linear(x, self.weight if fixed else weight)))

    model = Net()
    return supervised(digits(), model, Adam(model.parameters(), 5e-3), seed, judged_after=300)


@fault(
    "pathless/layer-in-closure",
    5,
    "optimizer-state frozen graph-cut",
    why="a layer that only a lambda knows",
)
def layer_in_closure(seed: int, fixed: bool) -> Training:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.Linear(64, 3)
            self.call = lambda x: torch.tanh(layer(x))
            if fixed:
                self.layer = layer
            self.rest = mlp(3, 10, depth=2)

        def forward(self, x: Tensor) -> Tensor:
            return self.rest(self.call(x))

    model = Net()
    return supervised(digits(), model, Adam(model.parameters(), 5e-3), seed, judged_after=300)


@fault("pathless/latent-drawn", 5, "graph-cut non-differentiable", why="sample() for rsample()")
def latent_drawn(seed: int, fixed: bool) -> Training:
    class Coder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enc, self.dec = mlp(64, 12, depth=2), mlp(6, 64, depth=2)

        def forward(self, x: Tensor) -> tuple[Tensor, Normal]:
            mean, spread = self.enc(x).chunk(2, 1)
            code = Normal(mean, (spread - 1).clamp(-6, 2).exp())
            return self.dec(code.rsample() if fixed else code.sample()), code

    task, model = digits(), Coder()
    draw = task.batches(64, seed)

    def step(model: nn.Module) -> Tensor:
        x, _ = draw()
        out, code = model(x)
        prior = torch.distributions.kl_divergence(code, Normal(0.0, 1.0)).sum(1).mean()
        return 64 * F.mse_loss(out, x) + 0.1 * prior

    def score(model: nn.Module) -> float:
        with torch.no_grad():
            out = model(task.x_test)[0]
        return 1 - float(((out - task.x_test) ** 2).mean() / task.x_test.var(0).mean())

    return Training(model, step, Adam(model.parameters(), 5e-3), score, judged_after=300)


@fault("pathless/hard-gumbel", 5, "graph-cut non-differentiable", "first", why="a mask by scatter")
def hard_gumbel(seed: int, fixed: bool) -> Training:
    class Coded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = mlp(64, 8, depth=2), mlp(8, 10, depth=2)

        def forward(self, x: Tensor) -> Tensor:
            logits = self.first(x)
            if fixed:
                return self.head(F.gumbel_softmax(logits, hard=True))
            soft = F.gumbel_softmax(logits)
            hard = torch.zeros_like(soft).scatter_(-1, soft.argmax(-1, keepdim=True), 1.0)
            return self.head(hard)

    model = Coded()
    return supervised(digits(), model, Adam(model.parameters(), 1e-2), seed, judged_after=300)


@fault("pathless/nearest-code", 5, "non-differentiable graph-cut", "enc", why="VQ without a bridge")
def nearest_code(seed: int, fixed: bool) -> Training:
    class Quantised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enc, self.dec = mlp(64, 4, depth=2), mlp(4, 10, depth=2)
            self.book = nn.Parameter(torch.randn(32, 4))

        def forward(self, x: Tensor) -> Tensor:
            z = self.enc(x)
            code = self.book[torch.cdist(z, self.book).argmin(1)]
            return self.dec(z + (code - z).detach() if fixed else code)

    model = Quantised()
    return supervised(digits(), model, Adam(model.parameters(), 5e-3), seed, judged_after=300)


@fault("pathless/top-places", 5, "non-differentiable graph-cut", "score", why="topk's places only")
def top_places(seed: int, fixed: bool) -> Training:
    class Picker(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score, self.value = nn.Linear(8, 1), nn.Linear(8, 16)
            self.head = nn.Linear(16, 4)

        def forward(self, x: Tensor) -> Tensor:
            top, at = self.score(x).squeeze(-1).topk(2, -1)
            h = torch.relu(self.value(x).gather(1, at[..., None].expand(-1, -1, 16)))
            return self.head((h * top.softmax(-1)[..., None] if fixed else h).sum(1))

    g = torch.Generator().manual_seed(3)
    x = torch.randn(3000, 10, 8, generator=g)
    rows, marked = torch.arange(3000), torch.randint(10, (3000,), generator=g)
    x[:, :, 0] = 0.0
    x[rows, marked, 0] = 2.0
    y = (x[rows, marked, 1] > 0).long() * 2 + (x[rows, marked, 2] > 0).long()
    task = Task(x[:2500], y[:2500], x[2500:], y[2500:], "classes")
    model = Picker()
    return supervised(task, model, Adam(model.parameters(), 1e-2), seed, judged_after=300)


@fault(
    "pathless/one-tower",
    5,
    "graph-cut",
    "key",
    why="the other tower of a pair is detached and random",
)
def one_tower(seed: int, fixed: bool) -> Training:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key = mlp(32, 16, depth=2), mlp(32, 16, depth=2)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            key = self.key(b)
            return self.query(a) @ (key if fixed else key.detach()).T

    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(32, 32, generator=torch.Generator().manual_seed(1)) / 6

    def pairs(n: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
        a = torch.randn(n, 32, generator=g)
        return a, torch.tanh(a @ mix) + 0.1 * torch.randn(n, 32, generator=g)

    def step(model: nn.Module) -> Tensor:
        return F.cross_entropy(2 * model(*pairs(64, g)), torch.arange(64))

    def score(model: nn.Module) -> float:
        with torch.no_grad():
            out = model(*pairs(200, torch.Generator().manual_seed(9)))
        return float((out.argmax(1) == torch.arange(200)).float().mean())

    model = Pair()
    return Training(model, step, Adam(model.parameters(), 1e-3), score)
