"""What a probe costs beside a bare forward and backward, in time and in memory.

    python benchmarks/probe.py [--threads 1] [--pairs 30] [--only gpt lstm]

Time. Both run in one process, in turn, so that a slow moment of the machine meets both; the
number is the median of the ratios of neighbours, with the quartiles. Setting `.grad` to None
is not timed.

Memory. Each number comes from a fresh process that imports everything, builds the model, probes
another tiny model (so that lazy imports are over), sets back the kernel's high-water mark of
resident memory (5 to /proc/self/clear_refs) and notes the resident size; then come three steps.
Peak is VmHWM minus that size: activations, gradients and what the probe holds. `ru_maxrss` would
not do, as it is never set back and a child inherits it from its parent; `tracemalloc` does not see
torch's memory. The median of three processes is shown. Below 16 MiB the pages of the allocator
outweigh the tensors, and no verdict is given. Linux only.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

import isograd

MEMORY_TARGET = 1.1
MEASURABLE = 16  # MiB
PROCESSES, STEPS = 3, 3


def mlp(width, batch):
    layers = [module for _ in range(12) for module in (nn.Linear(width, width), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(width, 10))
    x, y = torch.randn(batch, width), torch.randint(0, 10, (batch,))
    return model, lambda model: F.cross_entropy(model(x), y)


class Block(nn.Module):
    """A pre-norm transformer block of width `d`."""

    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))

    def forward(self, x):
        """Map `[batch, time, d]` to the same shape."""
        split = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1))
        q, k, v = split.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """Four blocks of width 128 over 256 tokens."""

    def __init__(self, layers=4, d=128, time=128, vocabulary=256):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, d)
        self.position = nn.Parameter(torch.randn(time, d) / 10)
        self.blocks = nn.Sequential(*(Block(d, 4) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, vocabulary)

    def forward(self, tokens):
        """Logits `[batch, time, vocabulary]`."""
        return self.head(self.norm(self.blocks(self.embedding(tokens) + self.position)))


def gpt():
    text = torch.randint(0, 256, (8, 129))

    def step(model):
        return F.cross_entropy(model(text[:, :-1]).flatten(0, 1), text[:, 1:].flatten())

    return GPT(), step


def bert():
    """Size of MiniLM-L6: 22.7 million parameters."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=30522, hidden_size=384, intermediate_size=1536, num_hidden_layers=6,
        num_attention_heads=12,
    )  # fmt: skip
    tokens, labels = torch.randint(1000, 30522, (8, 64)), torch.randint(0, 2, (8,))
    model = BertForSequenceClassification(config).train()
    return model, lambda model: model(input_ids=tokens, labels=labels).loss


class Loop(nn.Module):
    """An LSTMCell in a Python loop."""

    def __init__(self, hidden=128):
        super().__init__()
        self.cell, self.head = nn.LSTMCell(32, hidden), nn.Linear(hidden, 10)

    def forward(self, x):
        """Logits `[batch, 10]` from `[batch, time, 32]`."""
        state = None
        for now in x.unbind(1):
            state = self.cell(now, state)
        return self.head(state[0])


def lstm():
    x, y = torch.randn(16, 100, 32), torch.randint(0, 10, (16,))
    return Loop(), lambda model: F.cross_entropy(model(x), y)


# name: (what, build, target for the ratio of times)
CASES = {
    "mlp64": ("MLP 12 x 64, batch 64", lambda: mlp(64, 64), 1.5),
    "mlp512": ("MLP 12 x 512, batch 256", lambda: mlp(512, 256), 1.5),
    "gpt": ("GPT 4 layers, d 128, 8 x 128 tokens", gpt, 1.4),
    "bert": ("BERT MiniLM-L6 size, 8 x 64 tokens", bert, 1.25),
    "lstm": ("LSTMCell loop, 100 steps, hidden 128", lstm, 5.0),
}


def build(name):
    torch.manual_seed(0)
    return CASES[name][1]()


def bare(model, step):
    step(model).backward()


RUNS = {"bare": bare, "probe": isograd.probe}


def seconds(run, model, step):
    model.zero_grad(set_to_none=True)
    start = time.perf_counter()
    run(model, step)
    return time.perf_counter() - start


def compare_times(name, pairs):
    """Seconds of a bare step, then quartiles of probe / bare."""
    model, step = build(name)
    for _ in range(3):
        for run in RUNS.values():
            seconds(run, model, step)
    times = {"bare": [], "probe": []}
    for i in range(pairs):
        for kind in ("bare", "probe") if i % 2 else ("probe", "bare"):
            times[kind].append(seconds(RUNS[kind], model, step))
    ratios = [b / a for a, b in zip(times["bare"], times["probe"], strict=True)]
    return statistics.median(times["bare"]), statistics.quantiles(ratios, n=4)


def peak_of_this_process(name, kind):
    """MiB of resident memory above that after building the model."""
    model, step = build(name)
    isograd.probe(nn.Linear(2, 1), lambda tiny: tiny(torch.ones(1, 2)).sum())
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    for _ in range(STEPS):
        seconds(RUNS[kind], model, step)
    return status("VmHWM") - before


def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    (kib,) = (line.split()[1] for line in lines if line.startswith(f"{key}:"))
    return int(kib) / 1024


def peak(name, kind, threads):
    command = [sys.executable, __file__, "--threads", str(threads), "--child", name, kind]
    outputs = [
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for _ in range(PROCESSES)
    ]
    return statistics.median(float(out.split()[-1]) for out in outputs)


def machine():
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
    load = os.getloadavg()[0]
    return (
        f"{cpu}, {len(os.sched_getaffinity(0))} cores, load {load:.1f}; {platform.system()}"
        f" {platform.release()}; Python {platform.python_version()}, torch {torch.__version__},"
        f" {torch.get_num_threads()} thread(s); isograd {isograd.__version__}"
    )


def verdict(value, target):
    return "met" if value <= target else "MISSED"


def main():
    parser = argparse.ArgumentParser(description="Cost of a probe beside a bare step.")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    parser.add_argument("--pairs", type=int, default=30, help="timed pairs a case (default 30)")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.child:
        print(peak_of_this_process(*options.child))
        return

    print(machine())
    print(
        f"\n{'case':38}{'bare ms':>9}{'probe x':>9}{'quartiles':>14}{'target':>8}  {'':8}"
        f"{'bare MiB':>9}{'probe MiB':>10}{'ratio':>7}{'target':>8}"
    )
    for name in options.only:
        what, _, target = CASES[name]
        plain, (low, ratio, high) = compare_times(name, options.pairs)
        before, after = (peak(name, kind, options.threads) for kind in ("bare", "probe"))
        memory = after / before if before else float("nan")
        judged = verdict(memory, MEMORY_TARGET) if before >= MEASURABLE else "too small"
        print(
            f"{what:38}{plain * 1e3:9.2f}{ratio:9.2f}{f'{low:.2f}..{high:.2f}':>14}{target:8.2f}"
            f"  {verdict(ratio, target):8}{before:9.1f}{after:10.1f}{memory:7.2f}"
            f"{MEMORY_TARGET:8.2f}  {judged}",
            flush=True,
        )


if __name__ == "__main__":
    main()
