"""Small data sets, and trainings made of them.

Real data come with scikit-learn (digits, wine, breast cancer, diabetes) and with Python (the text
of `pydoc_data.topics`); the rest is generated from a fixed seed, so that every case with the same
seed sees the same batches.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import torch
import torch.nn.functional as F
from sklearn import datasets
from torch import Tensor, nn

from diagnosis.nets import mlp
from diagnosis.registry import Training

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Task:
    """Inputs and targets, for training and held out.

    Attributes:
        x: Training inputs, one row a sample.
        y: Training targets.
        x_test: Held-out inputs.
        y_test: Held-out targets.
        kind: `classes` (y is an index), `binary` (y is 0. or 1., one logit), `values`
            (regression) or `tokens` (an index at each position).
    """

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    kind: str

    def map(self, change: Callable[[Tensor], Tensor]) -> Task:
        """The same task with changed inputs."""
        return replace(self, x=change(self.x), x_test=change(self.x_test))

    def targets(self, change: Callable[[Tensor], Tensor]) -> Task:
        """The same task with changed training targets; the held-out ones stay true."""
        return replace(self, y=change(self.y))

    def loss(self) -> Loss:
        """The usual loss."""
        if self.kind == "classes":
            return F.cross_entropy
        if self.kind == "binary":
            return lambda out, y: F.binary_cross_entropy_with_logits(out.flatten(), y)
        if self.kind == "tokens":
            return lambda out, y: F.cross_entropy(out.flatten(0, 1), y.flatten())
        return lambda out, y: F.mse_loss(out.flatten(), y)

    def batches(self, size: int, seed: int) -> Callable[[], tuple[Tensor, Tensor]]:
        """A function that draws the next batch."""
        generator = torch.Generator().manual_seed(1000 + seed)

        def draw() -> tuple[Tensor, Tensor]:
            pick = torch.randint(len(self.x), (size,), generator=generator)
            return self.x[pick], self.y[pick]

        return draw

    def score(self, model: nn.Module) -> float:
        """Skill of a model on the held-out part."""
        training = model.training
        model.eval()
        with torch.no_grad():
            out = model(self.x_test)
        model.train(training)
        return self.skill(out)

    def skill(self, out: Tensor) -> float:
        """Skill of outputs for the held-out inputs."""
        out, y = out.float(), self.y_test
        if not bool(torch.isfinite(out).all()):
            return math.nan
        if self.kind == "values":
            return 1 - float(((out.flatten() - y) ** 2).mean() / y.var(correction=0))
        if self.kind == "tokens":
            share = torch.bincount(y.flatten()).float() / y.numel()
            share = share[share > 0]
            best = float(-(share * share.log()).sum())
            return 1 - float(F.cross_entropy(out.flatten(0, 1), y.flatten())) / best
        guess = (out.flatten() > 0).float() if self.kind == "binary" else out.argmax(-1)
        base = max(Counter(y.tolist()).values()) / len(y)
        return (float((guess == y).float().mean()) - base) / (1 - base)


def supervised(
    task: Task,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    seed: int,
    *,
    loss: Loss | None = None,
    batch: int = 64,
    **options: object,
) -> Training:
    """A training on mini-batches of a task; `options` go to `Training`."""
    criterion = loss or task.loss()
    draw = task.batches(batch, seed)

    def step(model: nn.Module) -> Tensor:
        x, y = draw()
        return criterion(model(x), y)

    settings = {"score": task.score, **options}
    return Training(model, step, optimizer, **settings)  # type: ignore[arg-type]


def _halves(x: Tensor, y: Tensor, kind: str, test: int = 400) -> Task:
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(7))
    rest, held = order[test:], order[:test]
    return Task(x[rest], y[rest], x[held], y[held], kind)


def standard(x: Tensor) -> Tensor:
    """Columns at zero mean and unit variance; a constant column at zero."""
    return (x - x.mean(0)) / x.std(0).clamp_min(1e-6)


def _frame(name: str) -> tuple[Tensor, Tensor]:
    data = getattr(datasets, f"load_{name}")()
    return torch.tensor(data.data, dtype=torch.float32), torch.tensor(data.target)


@cache
def digits(image: bool = False) -> Task:
    """8x8 handwritten digits with entries in [0, 1], centred."""
    x, y = _frame("digits")
    x = x / 16 - 0.3
    return _halves(x.view(-1, 1, 8, 8) if image else x, y, "classes")


@cache
def wine(raw: bool = False) -> Task:
    """13 chemical properties, three growers; raw columns reach from 0.1 to 1700."""
    x, y = _frame("wine")
    return _halves(x if raw else standard(x), y, "classes", 60)


@cache
def cancer(raw: bool = False) -> Task:
    """30 measures of cell nuclei, two classes, as one logit."""
    x, y = _frame("breast_cancer")
    return _halves(x if raw else standard(x), y.float(), "binary", 150)


@cache
def houses(raw: bool = False, target_scale: float = 1.0) -> Task:
    """Made like the California prices: eight skewed features of very different units."""
    g = torch.Generator().manual_seed(3)
    z = torch.randn(3000, 8, generator=g)
    units = torch.tensor([2.0, 12.0, 1.5, 0.3, 1000.0, 1.0, 2.0, 2.0])
    x = (z * 0.5).exp() * units
    y = z[:, 0] + 0.5 * z[:, 1] * z[:, 2] - 0.4 * z[:, 6].abs() + 0.5 * torch.tanh(z[:, 7])
    y = y + 0.2 * torch.randn(3000, generator=g)
    y = (y - y.mean()) / y.std() * target_scale + (2 * target_scale if target_scale > 1 else 0)
    return _halves(x if raw else standard(x), y, "values")


@cache
def text(length: int = 24) -> Task:
    """Next character in the help topics of Python; 64 characters."""
    from pydoc_data.topics import topics

    raw = "".join(topics[name] for name in sorted(topics)[:40])
    known = [c for c, _ in Counter(raw).most_common(63)]
    index = {c: i + 1 for i, c in enumerate(known)}
    codes = torch.tensor([index.get(c, 0) for c in raw[: 3000 * length + 1]])
    rows = (len(codes) - 1) // length
    x = codes[: rows * length].view(rows, length)
    y = codes[1 : rows * length + 1].view(rows, length)
    return _halves(x, y, "tokens", 200)


@cache
def recall(length: int = 30, symbols: int = 4) -> Task:
    """Name the first symbol of a sequence; the rest is noise."""
    g = torch.Generator().manual_seed(5)
    x = torch.randint(symbols, (2400, length), generator=g)
    return _halves(x, x[:, 0].clone(), "classes")


@cache
def lookup(length: int = 12, symbols: int = 4) -> Task:
    """Name the one symbol that is marked (drawn from a second alphabet)."""
    g = torch.Generator().manual_seed(6)
    x = torch.randint(symbols, (4000, length), generator=g)
    at = torch.randint(length - 1, (4000,), generator=g)
    rows = torch.arange(4000)
    y = x[rows, at].clone()
    x[rows, at] += symbols
    return _halves(x, y, "classes")


@cache
def parity(bits: int = 3, width: int = 8) -> Task:
    """Parity of the first bits: flat for long, then a sudden drop."""
    g = torch.Generator().manual_seed(8)
    x = torch.randint(2, (4000, width), generator=g)
    return _halves(x.float() * 2 - 1, x[:, :bits].sum(1) % 2, "classes")


@cache
def communities(nodes: int = 400, classes: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """A random graph of four communities: features, labels, normalised adjacency."""
    g = torch.Generator().manual_seed(9)
    y = torch.arange(nodes) % classes
    same = y[:, None] == y[None, :]
    edges = torch.rand(nodes, nodes, generator=g) < torch.where(same, 0.06, 0.01)
    a = ((edges | edges.T) & ~torch.eye(nodes, dtype=torch.bool)).float() + torch.eye(nodes)
    x = F.one_hot(y, classes).float().repeat(1, 4) + 1.5 * torch.randn(nodes, 16, generator=g)
    d = a.sum(1).rsqrt()
    return x, y, d[:, None] * a * d[None, :]


def pretrained(steps: int = 120) -> nn.Sequential:
    """A digits net after a short training."""
    with torch.random.fork_rng():
        torch.manual_seed(123)
        model = mlp(64, 10, depth=3)
        task = digits()
        training = supervised(task, model, torch.optim.Adam(model.parameters(), 3e-3), 123)
        for _ in range(steps):
            training.advance()
    return model
