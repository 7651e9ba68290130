"""Alarms that a watch raises on healthy trainings, and on ones in which something happens.

    python benchmarks/alarms.py [--steps 400] [--seeds 1] [--only PART]

Healthy are the healthy cases of the diagnosis benchmark's dev half, trained on for `--steps`
steps, and long runs of three nets with schedules that change abruptly: warm-up, cosine with
restarts, drops of the rate, another batch size, layers unfrozen. In the other runs one thing
happens at a known step: a batch a hundred times too large, a rate a thousand times too large, a
penalty on the weights with the wrong sign; told is how many steps before or after it the first
alarm comes, and before the loss is ten times its least.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import growing
import torch
import torch.nn.functional as F
from diagnosis.registry import split
from torch import nn

import isograd

BUDGET = 0.2  # these steps take a millisecond: the default would let most rows go by
HAPPENS = 300


def net(kind: str) -> nn.Module:
    """A small net for 16 inputs and 4 classes."""
    if kind == "plain":
        layers = [m for _ in range(4) for m in (nn.Linear(32, 32), nn.ReLU())]
        return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), *layers, nn.Linear(32, 4))
    if kind == "normalized":
        layers = [m for _ in range(3) for m in (nn.Linear(32, 32), nn.BatchNorm1d(32), nn.GELU())]
        return nn.Sequential(nn.Linear(16, 32), *layers, nn.Linear(32, 4))
    return nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Dropout(0.3), nn.Linear(64, 4))


def batch(model: nn.Module, size: int, teacher: torch.Tensor) -> torch.Tensor:
    """Loss of a fresh batch with a tenth of wrong labels."""
    x = torch.randn(size, 16)
    y = (x @ teacher).argmax(1)
    y = torch.where(torch.rand(size) < 0.1, torch.randint(0, 4, (size,)), y)
    return F.cross_entropy(model(x), y)


def warm_up(step: int, steps: int) -> float:
    """From nothing, linearly, then a cosine to nothing."""
    return min(step / 200, 1) * (1 + math.cos(math.pi * step / steps)) / 2


def restarts(step: int, steps: int) -> float:
    """A cosine that starts again four times."""
    return (1 + math.cos(math.pi * (step % (steps // 4)) / (steps // 4))) / 2


def drops(step: int, steps: int) -> float:
    """A tenth, twice."""
    return 0.1 ** (3 * step // steps)


def rises(step: int, steps: int) -> float:
    """Twice as large from the middle on."""
    return 2.0 if step > steps // 2 else 1.0


SCHEDULES: dict[str, Callable[[int, int], float]] = {
    "warm-up and cosine": warm_up,
    "cosine with restarts": restarts,
    "rate dropped twice": drops,
    "rate raised": rises,
}


def scheduled(kind: str, schedule: str, seed: int, steps: int) -> list[Any]:
    """Alarms of a healthy run."""
    torch.manual_seed(seed)
    model, teacher = net(kind), torch.randn(16, 4)
    trainer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    if kind == "plain":
        trainer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    frozen = kind == "normalized" and schedule == "rate raised"
    model[0].requires_grad_(not frozen)
    rate = trainer.param_groups[0]["lr"]
    with isograd.watch(model, trainer, budget=BUDGET) as watch:
        for step in range(steps):
            trainer.param_groups[0]["lr"] = rate * SCHEDULES[schedule](step, steps)
            model[0].requires_grad_(not frozen or step > steps // 3)
            loss = batch(model, 32 if step < 2 * steps // 3 else 128, teacher)
            trainer.zero_grad()
            loss.backward()
            trainer.step()
    return watch.alarms


def eventful(event: str, seed: int) -> tuple[int | None, int | None]:
    """Steps of the first alarm and of a loss ten times the least so far."""
    torch.manual_seed(seed)
    model, teacher = net("plain"), torch.randn(16, 4)
    trainer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    least, broken = math.inf, None
    with isograd.watch(model, trainer, budget=None) as watch:
        for step in range(HAPPENS + 60):
            loss = batch(model, 32, teacher)
            if event == "batch" and step == HAPPENS:
                loss = F.cross_entropy(model(100 * torch.randn(32, 16)), torch.arange(32) % 4)
            if event == "rate" and step == HAPPENS:
                trainer.param_groups[0]["lr"] = 50.0
            trainer.zero_grad()
            loss.backward()
            trainer.step()
            if broken is None and not loss.item() < 10 * least:
                broken = step
            least = min(least, loss.item())
    return (watch.alarms[0].step if watch.alarms else None), broken


def main() -> None:
    """Print one line for each healthy run with an alarm, and totals."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--long", type=int, default=2000, help="steps of the runs with schedules")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", default="", help="part of a name; `schedule`, `event`")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    runs = told = steps = 0

    def show(name: str, alarms: list[Any], length: int) -> None:
        nonlocal runs, told, steps
        runs, told, steps = runs + 1, told + bool(alarms), steps + length
        for alarm in alarms:
            print(f"  {name}: step {alarm.step}: {alarm.message}", flush=True)

    for seed in range(options.seeds):
        for case in split("dev"):
            if case.group or options.only not in case.name:
                continue
            training = case(seed)
            with isograd.watch(training.model, training.optimizer, budget=BUDGET) as watch:
                for _ in range(options.steps):
                    training.advance()
            show(f"{case.name} {seed}", watch.alarms, options.steps)
        for kind in ("plain", "normalized", "dropout") if options.only in "schedule" else ():
            for schedule in SCHEDULES:
                alarms = scheduled(kind, schedule, seed, options.long)
                show(f"{kind}, {schedule} {seed}", alarms, options.long)
    print(f"healthy: {told} of {runs} runs with an alarm in {steps} steps")
    for event in ("batch", "rate") if options.only in "event" else ():
        for seed in range(max(options.seeds, 3)):
            first, broken = eventful(event, seed)
            print(f"{event} at step {HAPPENS}: first alarm {first}, loss tenfold {broken}")
    if options.only in "event":
        alarms, exploded, _ = growing.train(-6e-3)
        first = alarms[0].step if alarms else None
        print(f"weights that grow: first alarm {first}, explosion {exploded}")


if __name__ == "__main__":
    main()
