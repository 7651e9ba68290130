"""What `isograd.watch` costs beside the bare training step.

    python benchmarks/watch.py [--threads 1] [--steps 400]

Two copies of one model are trained in one process, one watched and one not, a block of steps each
in turn, so that a slow moment of the machine meets both. Shown are the ratio of the median step
times, and the whole time of the watched blocks over the bare ones, which counts the rare whole
measurements too; first over the first hundred steps, all of which are recorded, then at the
cadence that follows (the budget is 5 %).
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import torch
import torch.nn.functional as F
from probe import Block
from torch import nn

import isograd

BLOCK = 20


def mlp(width: int, depth: int, batch: int):
    """A ReLU net and its batch."""
    layers = [m for _ in range(depth) for m in (nn.Linear(width, width), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(width, 10))
    return model, torch.randn(batch, width), torch.randint(0, 10, (batch,))


def gpt(width: int, depth: int, batch: int):
    """Pre-norm transformer blocks and their batch."""
    blocks = [Block(width, 4) for _ in range(depth)]
    model = nn.Sequential(nn.Embedding(64, width), *blocks, nn.LayerNorm(width))
    model.append(nn.Linear(width, 64))
    tokens = torch.randint(0, 64, (batch, 65))
    return model, tokens[:, :-1], tokens[:, 1:]


CASES = {
    "MLP 6x128, batch 64 (100k parameters)": lambda: mlp(128, 6, 64),
    "MLP 12x512, batch 128": lambda: mlp(512, 12, 128),
    "GPT 4x128, 16x64 tokens": lambda: gpt(128, 4, 16),
}


def timed(model, optimizer, x, y, steps: int) -> list[float]:
    """Seconds of each step of an ordinary loop."""
    seconds = []
    for _ in range(steps):
        begin = time.perf_counter()
        optimizer.zero_grad()
        out = model(x)
        loss = F.cross_entropy(out.flatten(0, -2), y.flatten())
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - begin)
    return seconds


def ratios(made, steps: int) -> list[tuple[float, float]]:
    """`(ratio of medians, ratio of sums)` over the first hundred steps and over the rest."""
    torch.manual_seed(0)
    model, x, y = made()
    pair = [model, copy.deepcopy(model)]
    optimizers = [torch.optim.Adam(m.parameters(), lr=1e-4) for m in pair]
    for m in pair:
        timed(m, torch.optim.SGD(m.parameters(), lr=0.0), x, y, 5)
    bare: list[float] = []
    watched: list[float] = []
    watch = isograd.watch(pair[1], optimizers[1])
    watch.open()
    for _ in range(steps // BLOCK):
        bare += timed(pair[0], optimizers[0], x, y, BLOCK)
        watched += timed(pair[1], optimizers[1], x, y, BLOCK)
    watch.close()
    out = []
    for part in (slice(0, 100), slice(100, None)):
        median = statistics.median(watched[part]) / statistics.median(bare[part])
        out.append((median, sum(watched[part]) / sum(bare[part])))
    return out


def main() -> None:
    """Print one line for each case."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=400)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{'':40}{'first 100 steps':>20}{'after that':>20}")
    print(f"{'':40}{'median':>10}{'whole':>10}{'median':>10}{'whole':>10}")
    for name, made in CASES.items():
        (a, b), (c, d) = ratios(made, options.steps)
        print(f"{name:40}{a:10.2f}{b:10.2f}{c:10.2f}{d:10.2f}", flush=True)


if __name__ == "__main__":
    main()
