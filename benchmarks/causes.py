"""Do accounts along the chain, and the replay with neutral factors, blame what really helps?

    python benchmarks/causes.py [--write docs/causes-table.md]

Nets of a grid (activation, gain of the weights, normalisation, depth, seed) whose gradient vanishes
or explodes. What really helps is found by changing the net itself, forward and backward: each
activation replaced by the identity (times sqrt(1/2) for rectifiers), weights drawn at the gain
that their activation asks for, norms removed. A change helps if at most half of the decades are
left, on either side of none. Right is a first cause that helps alone.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import isograd
from isograd.rules.case import CAUSES, Case
from isograd.rules.neutral import decided

WIDTH, CLASSES, SAMPLES = 64, 10, 64
ACTIVATIONS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU}
RECTIFIERS = ("relu", "gelu")
GAINS = (0.1, 0.3, 1 / math.sqrt(3), 1.0, 1.5, 3.0, 10.0)
NORMS = ("none", "layer")
DEPTHS = (8, 16)
SEEDS = (0, 1)


class Scaled(nn.Module):
    """A linear pass with a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """`x` times the factor."""
        return x * self.factor


def build(activation: str, gain: float, norm: str, depth: int, seed: int, without: str = ""):
    """A net of the grid; `without` names a kind of factor that is really taken out of it."""
    torch.manual_seed(seed)
    rectifies = activation in RECTIFIERS
    if without == "weight":
        gain = math.sqrt(2) if rectifies else 1.0
    layers: list[nn.Module] = []
    for _ in range(depth):
        layer = nn.Linear(WIDTH, WIDTH)
        nn.init.normal_(layer.weight, std=gain / math.sqrt(WIDTH))
        layers.append(layer)
        if norm == "layer" and without != "normalization":
            layers.append(nn.LayerNorm(WIDTH))
        plain = Scaled(math.sqrt(0.5) if rectifies else 1.0)
        layers.append(plain if without == "activation" else ACTIVATIONS[activation]())
    return nn.Sequential(*layers, nn.Linear(WIDTH, CLASSES))


def step(seed: int) -> Callable[[nn.Module], Tensor]:
    generator = torch.Generator().manual_seed(100 + seed)
    x = torch.randn(SAMPLES, WIDTH, generator=generator)
    y = torch.randint(CLASSES, (SAMPLES,), generator=generator)
    return lambda model: F.cross_entropy(model(x), y)


def decades(*net: object) -> float:
    """Decades between the last hidden layer and the first of a net of the grid."""
    hidden = Case(isograd.probe(build(*net), step(net[4]))).hidden  # type: ignore[arg-type]
    return hidden.decades if hidden is not None else math.nan


def judged() -> Iterator[tuple[str, str, str | None, set[str]]]:
    """For each net with an alarm: blamed by accounts, by replay (first, second), what helps."""
    for net in product(ACTIVATIONS, GAINS, NORMS, DEPTHS, SEEDS):
        found = isograd.check(build(*net), step(net[4]))
        if not any(f.code in ("G101", "G102") and f.alarm for f in found.findings):
            continue
        case = Case(found.snapshot)
        assert case.hidden is not None
        base = case.hidden.decades
        kinds = case.hidden.blame() if base < 0 else case.hidden.by_kind()
        order = kinds if base < 0 else reversed(kinds)
        accounts = next((kind for kind in order if kind in CAUSES), "weight")
        first, second = decided(case, accounts)
        changes = ["activation", "weight", *(["normalization"] if net[2] == "layer" else [])]
        helps = {c for c in changes if abs(decades(*net, c)) <= abs(base) / 2}
        yield accounts, first, second, helps


def table() -> list[str]:
    rows = list(judged())
    alone = [row for row in rows if row[3]]
    neither = [row for row in rows if not row[3]]
    plain = sum(accounts in helps for accounts, _, _, helps in alone)
    proved = sum(first in helps for _, first, _, helps in alone)
    both = sum(second is not None for _, _, second, _ in rows)
    changed = Counter((a, first) for a, first, _, _ in rows if a != first)
    moved = ", ".join(f"{n} from {a} to {b}" for (a, b), n in sorted(changed.items())) or "none"
    return [
        "| nets with an alarm about the product | number |",
        "|---|--:|",
        f"| all | {len(rows)} |",
        f"| of which one change alone halves the decades | {len(alone)} |",
        f"| … accounts along the chain blame one that does | {plain} |",
        f"| … the replay with neutral factors blames one that does | {proved} |",
        f"| of which no change alone does: one gains what another loses | {len(neither)} |",
        f"| findings that name two causes | {both} |",
        "",
        f"Causes that the replay changed: {moved}.",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    lines = table()
    print("\n".join(lines))
    if options.write:
        options.write.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
