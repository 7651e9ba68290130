"""What `isograd.watch` costs beside the bare training step, and what others cost.

    python benchmarks/watch.py [--steps 2000] [--only mlp|gpt|bert] [--quick] [--threads 1]

Copies of one model are trained in one process, a block of steps each in turn, so that a slow
moment of the machine meets all of them. Shown is processor time, which other programs disturb
less than the clock on the wall: of the whole run, which counts getting ready and the rare whole
measurements too, of the median block, and what a step takes more in the quietest tenth of the
blocks. `--quick` trains 200 steps. BERT over 2000 steps takes an hour or two.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from probe import Block
from torch import nn

import isograd
from isograd.monitor import governor

BLOCK = 10
# Slow tools need no more steps than this for a ratio.
ENOUGH = 100
Attached = Iterator[Callable[[], None]]


class OwnTime:
    """A clock for a watch that stands still while the others train: its budget is of its own."""

    def __init__(self) -> None:
        self.gone = 0.0
        self._since: float | None = None

    def perf_counter(self) -> float:
        """Seconds in which this training ran."""
        return self.gone + (time.perf_counter() - self._since if self._since is not None else 0.0)

    def run(self, on: bool) -> None:
        """Go on, or stand still."""
        self.gone = self.perf_counter()
        self._since = time.perf_counter() if on else None


@dataclass
class Training:
    """One copy of a net and how it is trained."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    x: torch.Tensor
    y: torch.Tensor
    before_step: Callable[[], None] = lambda: None
    clock: OwnTime = field(default_factory=OwnTime)

    def run(self, steps: int) -> float:
        """Seconds of processor time of an ordinary loop."""
        governor.time = self.clock  # type: ignore[assignment]
        self.clock.run(True)
        begin = time.process_time()
        for _ in range(steps):
            self.optimizer.zero_grad()
            out = self.model(self.x)
            out = out if isinstance(out, torch.Tensor) else out.logits
            loss = F.cross_entropy(out.flatten(0, -2), self.y.flatten())
            loss.backward()
            self.before_step()
            self.optimizer.step()
        took = time.process_time() - begin
        self.clock.run(False)
        return took


def mlp() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """Twelve layers of 64 units."""
    layers = [m for _ in range(12) for m in (nn.Linear(64, 64), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(64, 10)), torch.randn(32, 64), torch.arange(32) % 10


def gpt() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """Four pre-norm transformer blocks of width 128 on 16 x 64 tokens."""
    model = nn.Sequential(nn.Embedding(64, 128), *(Block(128, 4) for _ in range(4)))
    model.extend([nn.LayerNorm(128), nn.Linear(128, 64)])
    tokens = torch.randint(0, 64, (16, 65))
    return model, tokens[:, :-1], tokens[:, 1:]


def bert() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """The size of MiniLM-L6 (22.7 million parameters), random weights, 8 x 64 tokens."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    model = BertForSequenceClassification(config)
    return model, torch.randint(0, 30000, (8, 64)), torch.arange(8) % 2


NETS = {"mlp": mlp, "gpt": gpt, "bert": bert}


@contextmanager
def nothing(training: Training, where: Path) -> Attached:
    """The bare step."""
    yield lambda: None


@contextmanager
def ours(training: Training, where: Path, **options: Any) -> Attached:
    """`isograd.watch`."""
    with isograd.watch(training.model, training.optimizer, **options) as watch:
        yield lambda: told(watch)


@contextmanager
def recorded(training: Training, where: Path) -> Attached:
    """`isograd.watch` that writes a run file, at the default budget."""
    with ours(training, where, run=where / "run") as tell:
        yield tell


@contextmanager
def everything(training: Training, where: Path) -> Attached:
    """All that it can measure, at every step."""
    with ours(training, where, budget=None) as tell:
        yield tell


@contextmanager
def cheap(training: Training, where: Path) -> Attached:
    """The norms of all gradients at every step, and nothing else."""
    watch = isograd.watch(training.model, training.optimizer, budget=None)
    watch.governor.due = lambda kind: kind == "light"  # type: ignore[method-assign]
    yield lambda: None
    watch.close()


@contextmanager
def fused_norm(training: Training, where: Path) -> Attached:
    """One fused norm over all gradients."""
    parameters = list(training.model.parameters())

    def norms() -> None:
        torch._foreach_norm([p.grad for p in parameters if p.grad is not None])

    training.before_step = norms
    yield lambda: None


@contextmanager
def item_loop(training: Training, where: Path) -> Attached:
    """`p.grad.norm().item()` for every parameter, as written by hand."""
    parameters = list(training.model.parameters())

    def norms() -> None:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.norm().item()

    training.before_step = norms
    yield lambda: None


@contextmanager
def full_backward_hooks(training: Training, where: Path) -> Attached:
    """A full backward hook with one norm on each leaf module."""
    handles = [
        module.register_full_backward_hook(lambda m, i, out: out[0].norm().item() and None)
        for module in training.model.modules()
        if not list(module.children())
    ]
    yield lambda: None
    for handle in handles:
        handle.remove()


@contextmanager
def tensorboard(training: Training, where: Path) -> Attached:
    """Histograms of weights and gradients at every step, by the package itself."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(where / "tensorboard"))

    def write() -> None:
        for name, parameter in training.model.named_parameters():
            writer.add_histogram(name, parameter)
            if parameter.grad is not None:
                writer.add_histogram(f"{name}.grad", parameter.grad)

    training.before_step = write
    yield lambda: None
    writer.close()


@contextmanager
def wandb_like(training: Training, where: Path) -> Attached:
    """What `wandb.watch(log="all", log_freq=1)` computes: not the package, which logs on top."""

    def histogram(tensor: torch.Tensor) -> None:
        flat = tensor.detach().flatten()
        flat = flat[torch.isfinite(flat)]
        low, high = flat.min().item(), flat.max().item()
        torch.histc(flat, 64, low, high).cpu().tolist()

    def weights(module: nn.Module, args: Any, out: Any) -> None:
        for parameter in module.parameters(recurse=False):
            histogram(parameter)

    handles = [m.register_forward_hook(weights) for m in training.model.modules()]
    handles += [p.register_hook(histogram) for p in training.model.parameters()]
    yield lambda: None
    for handle in handles:
        handle.remove()


# What is attached, and over which share of the steps.
VARIANTS: dict[str, tuple[Any, bool]] = {
    "isograd.watch, default": (ours, True),
    "isograd.watch, default, run file": (recorded, True),
    "isograd.watch, budget=None": (everything, False),
    "    its cheap tier alone": (cheap, True),
    "    one torch._foreach_norm": (fused_norm, True),
    "loop of p.grad.norm().item()": (item_loop, False),
    "full backward hooks": (full_backward_hooks, False),
    "like wandb.watch(log='all')": (wandb_like, False),
    "TensorBoard histograms": (tensorboard, False),
}


def told(watch: Any) -> None:
    """What the governor itself says."""
    spent = watch.governor.summary()
    kinds = [k.removesuffix("_times") for k in spent if k.endswith("_times") and spent[k]]
    shares = ", ".join(
        f"{k} {spent[f'{k}_times']:.0f}x {spent[f'{k}_seconds']:.3f} s" for k in kinds
    )
    print(f"      its own account: {spent['share']:.2%} ({shares})", flush=True)


def compare(made: Callable[[], Any], steps: int, names: list[str]) -> None:
    """Train all variants in turn and print a line for each."""
    torch.manual_seed(0)
    model, x, y = made()
    trainings = []
    for _ in range(1 + len(names)):
        twin = copy.deepcopy(model)
        trainings.append(Training(twin, torch.optim.AdamW(twin.parameters(), lr=1e-4), x, y))
    trainings[0].run(5)
    _imported(trainings[0])
    attached = [nothing, *(VARIANTS[name][0] for name in names)]
    lengths = [steps, *(steps if VARIANTS[n][1] else min(steps, ENOUGH) for n in names)]
    took: list[list[float]] = [[] for _ in trainings]
    with tempfile.TemporaryDirectory() as directory:
        contexts = [a(t, Path(directory)) for a, t in zip(attached, trainings, strict=True)]
        tells, starts = [], []
        for context in contexts:
            begin = time.process_time()
            tells.append(context.__enter__())
            starts.append(time.process_time() - begin)
        for done in range(0, steps, BLOCK):
            turn = list(range(len(trainings)))
            turn = turn if done % (2 * BLOCK) else turn[::-1]
            for at in turn:
                if done < lengths[at]:
                    took[at].append(trainings[at].run(BLOCK))
        for at, name in enumerate(names, 1):
            bare = took[0][: len(took[at])]
            whole = (starts[at] + sum(took[at])) / sum(bare)
            middle = statistics.median(a / b for a, b in zip(took[at], bare, strict=True))
            extra = (_quiet(took[at]) - _quiet(bare)) / BLOCK * 1e6
            print(
                f"  {name:36}{lengths[at]:6}{whole:9.3f}{middle:9.3f}{extra:11.0f} us", flush=True
            )
            tells[at]()
        for context in contexts:
            context.__exit__(None, None, None)


def _imported(training: Training) -> None:
    """Import what a watch needs, which is no part of what it costs a training."""
    twin = copy.deepcopy(training.model)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.0)
    with isograd.watch(twin, optimizer):
        Training(twin, optimizer, training.x, training.y).run(2)


def _quiet(seconds: list[float]) -> float:
    """The lowest tenth: what other programs slowed down lies above."""
    return statistics.quantiles(seconds, n=10)[0] if len(seconds) > 1 else seconds[0]


def main() -> None:
    """Print one table for each net."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--quick", action="store_true", help="200 steps")
    parser.add_argument("--only", choices=tuple(NETS))
    parser.add_argument("--variant", default="", help="part of a variant's name")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    steps = 200 if options.quick else options.steps
    names = [name for name in VARIANTS if options.variant in name]
    try:
        import wandb  # noqa: F401  # pyright: ignore
    except ImportError:
        print("wandb is not installed: what its watch computes is done here without it")
    for net, made in NETS.items():
        if options.only in (None, net):
            size = sum(p.numel() for p in made()[0].parameters())
            print(f"{net}: {(made.__doc__ or '').strip()} {size:,} parameters, {steps} steps")
            print(f"  {'':36}{'steps':>6}{'whole':>9}{'median':>9}{'a step':>14}")
            compare(made, steps, names)


if __name__ == "__main__":
    main()
