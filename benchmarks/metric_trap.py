"""Two learning speeds that tell different stories: batch mean and per-sample RMS.

    python benchmarks/metric_trap.py [--seeds 20] [--write docs/metric-trap-table.md]

Last/first hidden layer by both, on the demo's digits, for three nets whose samples agree or
disagree to different degrees. Numbers are medians over the seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import nn

import isograd
from isograd.demo import classic, digits


def wide_weights(fan_in: int, fan_out: int) -> float:
    """Weights N(0, 1), as Nielsen's `large_weight_initializer` draws them."""
    return 1.0


def ratios(model: nn.Module, data: digits.Digits) -> tuple[float, float]:
    """Last/first hidden layer by batch mean and by per-sample RMS."""
    snapshot = isograd.probe(model, lambda m: classic.loss(m, data.images, data.targets))
    hidden = [layer for layer in snapshot.layers if layer.module.startswith("hidden")]
    first, last = hidden[0], hidden[-1]
    return last.batch_mean / first.batch_mean, last.per_sample_rms / first.per_sample_rms


def trained(seed: int, data: digits.Digits) -> nn.Module:
    model = classic.build(seed)
    classic.train(model, data)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--write", type=Path, help="also write the table to this file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = digits.load()
    nets: dict[str, Callable[[int], nn.Module]] = {
        "weights N(0, 1/fan_in), untrained": classic.build,
        "the same after 500 steps, at chance": lambda seed: trained(seed, data),
        "weights N(0, 1), untrained": lambda seed: classic.build(seed, weights=wide_weights),
    }
    lines = [
        f"Sigmoid net, last/first hidden layer, median over seeds 0 to {args.seeds - 1} "
        "(smallest to largest):",
        "",
        "| net | by batch mean | by per-sample RMS |",
        "|---|--:|--:|",
    ]
    for name, make in nets.items():
        pairs = [ratios(make(seed), data) for seed in range(args.seeds)]
        cells = []
        for i in (0, 1):
            values = [pair[i] for pair in pairs]
            cells.append(f"{median(values):.3g} ({min(values):.3g} to {max(values):.3g})")
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if args.write:
        args.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
