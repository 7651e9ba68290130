"""How typical is the demo's seed? Trains the classic net from many seeds.

    python benchmarks/demo_seeds.py [--seeds 100] [--remedies 20] [--write docs/demo-seeds-table.md]

Prints the distribution of the two numbers the demo is about, last/first hidden layer at the
start and in the median over the training, and of each remedy. The demo's seed is the first one
whose two numbers both lie in the middle half (between the quartiles) of all seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch

from isograd.demo import classic, digits, remedies
from isograd.records import History


def spreads(history: History) -> tuple[float, float]:
    """Last/first hidden layer at the start, and the median over the training."""
    every = [history.spread(at) for at in range(len(history.steps))]
    return every[0], median(every)


def quantiles(values: Sequence[float], digits: int = 3) -> list[str]:
    """Minimum, 5 %, 25 %, 50 %, 75 %, 95 %, maximum."""
    return [f"{q:.{digits}g}" for q in np.quantile(values, [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1])]


def row(name: str, values: Sequence[float]) -> str:
    return f"| {name} | " + " | ".join(quantiles(values)) + " |"


def typical(rows: Sequence[tuple[float, float]]) -> int:
    """First seed whose numbers all lie between the quartiles."""
    low, high = np.quantile(np.array(rows), [0.25, 0.75], axis=0)
    return next(i for i, r in enumerate(rows) if np.all((low <= r) & (r <= high)))


def classic_table(seeds: int, data: digits.Digits) -> list[str]:
    trainings = [classic.train(classic.build(seed), data) for seed in range(seeds)]
    pairs = [spreads(history) for history in trainings]
    seed = typical(pairs)
    scores = [100 * history.metric[-1] for history in trainings]
    inside = sum(50 <= r[1] <= 110 for r in pairs)
    return [
        f"Classic net, seeds 0 to {seeds - 1}, {classic.STEPS} steps:",
        "",
        "| number | min | 5 % | 25 % | median | 75 % | 95 % | max |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
        row("last/first at the start", [r[0] for r in pairs]),
        row("last/first, median over the training", [r[1] for r in pairs]),
        row("accuracy on unseen images at the end, %", scores),
        "",
        f"{sum(r[0] > 100 for r in pairs)} of {seeds} seeds are above 100 at the start; "
        f"{inside} of {seeds} have a median over the training between 50 and 110.",
        "",
        f"First seed with both numbers between the quartiles: **{seed}**, with "
        f"{pairs[seed][0]:.3g} at the start and {pairs[seed][1]:.3g} in the median.",
    ]


def remedy_table(seeds: int, data: digits.Digits) -> list[str]:
    names = [change.name for change in remedies.CHANGES]
    tried = []
    for seed in range(seeds):
        results = remedies.try_all(
            remedies.CHANGES, data, seed=seed, steps=classic.STEPS, decades=lambda _: 0.0
        )
        measured = [remedy for remedy, _ in results]
        tried.append(remedies.mark(measured, remedies.best(measured)))
    lines = [
        f"Remedies, seeds 0 to {seeds - 1}, median (smallest to largest):",
        "",
        "| change | last/first at the start | loss | accuracy on unseen images, % | chosen |",
        "|---|--:|--:|--:|--:|",
    ]
    for i, name in enumerate(names):
        cells = []
        for scale, field in ((1, "spread"), (1, "loss"), (100, "metric")):
            values = [scale * getattr(remedy[i], field) for remedy in tried]
            cells.append(f"{median(values):.3g} ({min(values):.3g} to {max(values):.3g})")
        chosen = sum(remedy[i].chosen for remedy in tried)
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {chosen} of {seeds} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--remedies", type=int, default=20, help="seeds for the remedies")
    parser.add_argument("--write", type=Path, help="also write the tables to this file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = digits.load()
    lines = [*classic_table(args.seeds, data), "", *remedy_table(args.remedies, data)]
    text = "\n".join(lines) + "\n"
    print(text)
    if args.write:
        args.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
