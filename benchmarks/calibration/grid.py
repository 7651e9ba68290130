"""Generated multilayer perceptrons: a seeded sample of a grid, and the training of each.

The grid is the full product of `AXES`, about 28 000 nets, good and bad. Nothing in it was written
with a rule in mind, so that it tells how often the rules are wrong on nets nobody chose.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from diagnosis.data import Task, cancer, digits
from diagnosis.nets import Residual
from diagnosis.registry import Training
from torch import Tensor, nn

# A batch; and the steps after which it is judged whether a net learns.
BATCH = 64
TRUTH_STEPS = 300
# Samples of the two generated tasks, of which 400 are held out.
SAMPLES = 2400

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": nn.LeakyReLU,
    "silu": nn.SiLU,
}
# Weights of standard deviation gain / sqrt(fan in) keep the size of the gradient: He et al. (2015)
# for rectifiers and their smooth kin, Glorot and Bengio (2010) for tanh (slope 1 at 0) and, with
# the slope of 1/4, for sigmoid.
GAINS = {"tanh": 1.0, "sigmoid": 4.0}
RECTIFIER = math.sqrt(2)
# Multiples of that gain; PyTorch's default initialisation is left as it is.
SCALES = {"right": 1.0, "0.1x": 0.1, "3x": 3.0}
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda width: nn.Identity(),
    "layer": nn.LayerNorm,
    "batch": nn.BatchNorm1d,
}
OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "SGD 0.05": lambda model: torch.optim.SGD(model.parameters(), 0.05),
    "SGD 0.01 momentum 0.9": lambda m: torch.optim.SGD(m.parameters(), 0.01, momentum=0.9),
    "Adam 1e-3": lambda model: torch.optim.Adam(model.parameters(), 1e-3),
    "AdamW 1e-3": lambda model: torch.optim.AdamW(model.parameters(), 1e-3),
}


def _held_out(x: Tensor, y: Tensor, kind: str) -> Task:
    return Task(x[400:], y[400:], x[:400], y[:400], kind)


@cache
def regression() -> Task:
    """A smooth function of eight features with products in it, a tenth of it noise."""
    g = torch.Generator().manual_seed(11)
    x = torch.randn(SAMPLES, 8, generator=g)
    y = x[:, 0] + torch.sin(2 * x[:, 1]) + x[:, 2] * x[:, 3] - x[:, 4].abs()
    y = (y - y.mean()) / y.std() + 0.1 * torch.randn(SAMPLES, generator=g)
    return _held_out(x, y, "values")


@cache
def spirals() -> Task:
    """Two arms of one turn each; no straight line tells them apart."""
    g = torch.Generator().manual_seed(12)
    arm = torch.randint(2, (SAMPLES,), generator=g)
    turn = torch.rand(SAMPLES, generator=g).sqrt()
    angle = 2 * math.pi * turn + math.pi * arm
    x = 2 * turn[:, None] * torch.stack((angle.cos(), angle.sin()), 1)
    return _held_out(x + 0.05 * torch.randn(x.shape, generator=g), arm, "classes")


# Task, its number of inputs and its number of outputs.
TASKS: dict[str, tuple[Callable[[], Task], int, int]] = {
    "digits": (digits, 64, 10),
    "regression": (regression, 8, 1),
    "spirals": (spirals, 2, 2),
    "cancer": (cancer, 30, 1),
}

AXES: dict[str, tuple[str | int, ...]] = {
    "depth": (2, 4, 8, 16),
    "width": (16, 64, 256),
    "activation": tuple(ACTIVATIONS),
    "init": ("default", *SCALES),
    "norm": tuple(NORMS),
    "residual": ("no", "pre-norm"),
    "optimizer": tuple(OPTIMIZERS),
    "task": tuple(TASKS),
}


@dataclass(frozen=True)
class Net:
    """One point of the grid.

    Attributes:
        depth: Number of hidden layers.
        width: Units of each.
        activation: Key of `ACTIVATIONS`.
        init: `default`, or a key of `SCALES`.
        norm: Key of `NORMS`; in front of each activation.
        residual: `no`, or `pre-norm`: each layer but the first adds to its input.
        optimizer: Key of `OPTIMIZERS`.
        task: Key of `TASKS`.
        seed: Of the weights and the batches.
    """

    depth: int
    width: int
    activation: str
    init: str
    norm: str
    residual: str
    optimizer: str
    task: str
    seed: int = 0

    def __str__(self) -> str:
        skip = ", residual" if self.residual != "no" else ""
        return (
            f"{self.task}, {self.depth}x{self.width} {self.activation}, init {self.init}, "
            f"norm {self.norm}{skip}, {self.optimizer}, seed {self.seed}"
        )

    def model(self) -> nn.Sequential:
        """The untrained net."""
        _, inputs, outputs = TASKS[self.task]
        layers: list[nn.Module] = [nn.Linear(inputs, self.width)]
        for _ in range(self.depth - 1):
            branch = nn.Sequential(*self._activated(), nn.Linear(self.width, self.width))
            layers += branch if self.residual == "no" else [Residual(branch)]
        model = nn.Sequential(*layers, *self._activated(), nn.Linear(self.width, outputs))
        if self.init != "default":
            self._initialise(model)
        return model

    def _activated(self) -> list[nn.Module]:
        norm = [] if self.norm == "none" else [NORMS[self.norm](self.width)]
        return [*norm, ACTIVATIONS[self.activation]()]

    def _initialise(self, model: nn.Module) -> None:
        gain = GAINS.get(self.activation, RECTIFIER) * SCALES[self.init]
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.in_features))
                nn.init.zeros_(layer.bias)

    def training(self) -> Training:
        """The net, its optimizer and its batches, always the same."""
        torch.manual_seed(self.seed)
        task = TASKS[self.task][0]()
        model = self.model()
        draw = task.batches(BATCH, self.seed)
        criterion = task.loss()

        def step(model: nn.Module) -> Tensor:
            x, y = draw()
            out = model(x)
            return F.cross_entropy(out, y) if task.kind == "classes" else criterion(out, y)

        return Training(model, step, OPTIMIZERS[self.optimizer](model), task.score)


def sample(count: int, seed: int = 0) -> tuple[Net, ...]:
    """A number of different nets of the grid; the same seed draws the same ones.

    Raises:
        ValueError: If the grid has fewer.
    """
    size = math.prod(len(levels) for levels in AXES.values())
    if not 0 < count <= size:
        raise ValueError(f"`count` must be between 1 and {size}, got {count}.")
    nets: list[Net] = []
    for number, index in enumerate(random.Random(seed).sample(range(size), count)):
        point: dict[str, str | int] = {}
        for axis, levels in AXES.items():
            index, level = divmod(index, len(levels))
            point[axis] = levels[level]
        nets.append(Net(**point, seed=1000 * seed + number))  # type: ignore[arg-type]
    return tuple(nets)
