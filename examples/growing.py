"""Weights that grow during training until the gain of each layer passes 1 and the net explodes.

    python examples/growing.py

The penalty on the weights has the wrong sign, as happens when a term is moved from one side of a
minus to the other. At first the net learns as if nothing were wrong: each of its ten layers
multiplies the gradient by less than 1. The weights grow by a fraction of a percent a step; when
the product of gains has passed 1, everything blows up within a few steps. `isograd.watch` follows
the product and warns while the loss still looks fine.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

import isograd

DEPTH, WIDTH, GAIN = 10, 32, 0.75
STEPS = 600


def made():
    """Ten hidden ReLU layers whose gain is `GAIN` each (He et al., 2015, gives 1)."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Linear(8, WIDTH), nn.ReLU()]
    for _ in range(DEPTH):
        layer = nn.Linear(WIDTH, WIDTH)
        nn.init.normal_(layer.weight, std=GAIN * math.sqrt(2 / WIDTH))
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 1))


def train(penalty: float, steps: int = STEPS, budget: float | None = None):
    """Train until the loss explodes.

    Args:
        penalty: What the squares of the weights are multiplied by; below 0 is the mistake.
        steps: At most so many.
        budget: Of the watch. Four hundred steps of so small a net take a second, of which the
            default of 1 % would leave too little to follow anything.

    Returns:
        `(alarms, step of the explosion or None, losses)`.
    """
    model = made()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    generator = torch.Generator().manual_seed(1)
    losses: list[float] = []
    with isograd.watch(model, optimizer, budget=budget) as watch:
        for step in range(steps):
            x = torch.randn(64, 8, generator=generator)
            y = x[:, :1].sin() + x[:, 1:2] * x[:, 2:3]
            loss = F.mse_loss(model(x), y)
            squares = sum(p.square().sum() for p in model.parameters() if p.dim() == 2)
            optimizer.zero_grad()
            (loss + penalty * squares).backward()
            optimizer.step()
            losses.append(loss.item())
            if not loss.item() < 100:
                return watch.alarms, step, losses
    return watch.alarms, None, losses


def main() -> None:
    """Tell the story."""
    for penalty in (1e-4, -6e-3):
        alarms, exploded, losses = train(penalty)
        print(f"penalty {penalty:+g}: loss {losses[0]:.3g} at the start, least {min(losses):.3g}")
        for alarm in alarms:
            print(f"  step {alarm.step:4}  {alarm.name}: {alarm.message}")
        print(f"  step {exploded:4}  the loss explodes" if exploded else "  no explosion")


if __name__ == "__main__":
    main()
