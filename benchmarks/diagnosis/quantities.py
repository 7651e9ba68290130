"""Candidate quantities for rules, measured on the dev half only.

    python benchmarks/diagnosis/quantities.py [--only PART] [--jobs 2] [--json FILE]

Everything is a ratio without a unit, so one threshold may fit all nets:

    owned       share of parameters with a gradient that the optimizer holds
    landed      |gradient at optimizer.step| / |gradient the last backward passes made|, median;
                the denominator sums the passes since the last optimizer step
    moved       |w after - w before| / |w before|, per step, median over steps and parameters
    drift       |w| at the end / at the start, largest factor up or down over parameters
    stuck       share of weight entries with a gradient whose value did not change in a step
    agree       cosine of gradients of successive steps, mean: -1 oscillates, 0 is noise
    coherence   |mean gradient|^2 / mean |gradient|^2 over eight batches at the start
    edge        rate x sharpness / 2 (for Adam, preconditioned) after ten steps; above 1 unstable
    uses        (loss with the inputs of the batch permuted - loss) / standard error, at the end
    fell        (mean loss of the first five steps - of the last five) / spread of the first five
    rose        largest loss after the tenth step / largest before
    radial      |cosine of gradient and weights|, at the end
    shrink      rate x decay, per step
    leak        |d out[0] / d x[1:]| / |d out[0] / d x[0]|, evaluation mode
    zeros       share of exact zeros in all gradients at the start
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor, nn

from diagnosis.registry import Training, cases, split

NAMES = (
    "owned", "landed", "moved", "drift", "stuck", "agree", "coherence", "edge", "uses", "fell",
    "rose", "radial", "shrink", "leak", "zeros",
)  # fmt: skip


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.detach().double().flatten() for t in tensors]) if tensors else Tensor()


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()).clamp_min(1e-300)) if len(a) == len(b) else math.nan


def _gradient(training: Training, graph: bool = False) -> tuple[list[Tensor], list[Tensor], Tensor]:
    loss = training.step(training.model)
    live = [p for p in training.model.parameters() if p.requires_grad]
    grads = torch.autograd.grad(loss, live, create_graph=graph, allow_unused=True)
    pairs = [(p, g) for p, g in zip(live, grads, strict=True) if g is not None]
    return [p for p, _ in pairs], [g.to_dense() for _, g in pairs], loss


def _edge(training: Training) -> float:
    """Power iteration on the rate times the (preconditioned) Hessian of one batch, halved."""
    optimizer = training.optimizer
    try:
        params, grads, _ = _gradient(training, graph=True)
        scale = []
        for p in params:
            group = next(
                (g for g in optimizer.param_groups if any(p is q for q in g["params"])), {}
            )
            state = optimizer.state.get(p, {})
            rate = torch.full_like(p, float(group.get("lr", 0.0)))
            if "exp_avg_sq" in state:
                beta = group["betas"][1]
                fixed = state["exp_avg_sq"] / (1 - beta ** float(state["step"]))
                rate = rate / (fixed.sqrt() + group["eps"])
            momentum = group.get("momentum", 0.0)
            scale.append((rate / (1 + momentum)).sqrt())
        v = [torch.randn_like(p) for p in params]
        top = 0.0
        for _ in range(12):
            length = math.sqrt(sum(float(x.double().square().sum()) for x in v))
            v = [x / length for x in v]
            product = torch.autograd.grad(
                grads, params, [s * x for s, x in zip(scale, v, strict=True)],
                retain_graph=True, allow_unused=True,
            )  # fmt: skip
            product = [
                torch.zeros_like(p) if h is None else s * h
                for p, s, h in zip(params, scale, product, strict=True)
            ]
            top = sum(float((a * b).double().sum()) for a, b in zip(v, product, strict=True))
            v = product
        return top / 2
    except RuntimeError:
        return math.nan


class _Inputs:
    """Forward hook on the model: permutes the batch, or keeps input and output."""

    def __init__(self) -> None:
        self.permute = self.keep = False
        self.seen: tuple[Tensor, Tensor] | None = None

    def before(self, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        x = args[0]
        if self.permute:
            return (x.roll(1, 0), *args[1:])
        if self.keep and x.is_floating_point():
            return (x.detach().requires_grad_(), *args[1:])
        return None

    def after(self, module: nn.Module, args: tuple[Tensor, ...], out: object) -> None:
        if self.keep and isinstance(out, Tensor):
            self.seen = (args[0], out)


def _uses(training: Training, inputs: _Inputs) -> float:
    plain, mixed = [], []
    with torch.no_grad():
        for _ in range(8):
            plain.append(float(training.step(training.model)))
            inputs.permute = True
            mixed.append(float(training.step(training.model)))
            inputs.permute = False
    error = math.sqrt((statistics.variance(plain) + statistics.variance(mixed)) / 8)
    return (statistics.mean(mixed) - statistics.mean(plain)) / (error + 1e-12)


def _leak(training: Training, inputs: _Inputs) -> float:
    inputs.keep, model = True, training.model
    training_mode = model.training
    model.eval()
    training.step(model)
    inputs.keep = False
    model.train(training_mode)
    if inputs.seen is None or not inputs.seen[0].requires_grad or len(inputs.seen[0]) < 2:
        return math.nan
    x, out = inputs.seen
    if out.shape[:1] != x.shape[:1] or not out.requires_grad:
        return math.nan
    (g,) = torch.autograd.grad((out[0] * torch.randn_like(out[0])).sum(), x, allow_unused=True)
    if g is None:
        return math.nan
    return float(g[1:].norm() / g[0].norm().clamp_min(1e-30))


def measured(name: str, seed: int = 0) -> dict[str, float | str]:
    """All quantities of one case."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    case = next(c for c in cases() if c.name == name)
    got: dict[str, float | str] = dict.fromkeys(NAMES, math.nan)
    got["name"] = name
    try:
        _measure(case(seed), got)
    except (RuntimeError, ValueError, OverflowError, statistics.StatisticsError) as error:
        got["error"] = str(error).splitlines()[0][:60]
    return got


def _measure(training: Training, got: dict[str, float | str]) -> None:
    model, optimizer = training.model, training.optimizer
    inputs = _Inputs()
    model.register_forward_pre_hook(inputs.before)
    model.register_forward_hook(inputs.after)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    params, grads, _ = _gradient(training)
    got["owned"] = sum(id(p) in held for p in params) / max(1, len(params))
    flat = _flat(grads)
    got["zeros"] = float((flat == 0).double().mean())
    got["leak"] = _leak(training, inputs)
    several = [_flat(_gradient(training)[1]) for _ in range(8)]
    if len({len(g) for g in several}) == 1:
        mean = torch.stack(several).mean(0)
        power = statistics.mean(float(g.square().sum()) for g in several)
        got["coherence"] = float(mean.square().sum()) / (power + 1e-300)
    _train(training, got)
    got["uses"] = _uses(training, inputs)
    params, grads, _ = _gradient(training)
    got["radial"] = abs(_cosine(_flat(grads), _flat(params)))


def _train(training: Training, got: dict[str, float | str]) -> None:
    model, optimizer = training.model, training.optimizer
    live = {n: p for n, p in model.named_parameters() if p.requires_grad}
    made: dict[str, Tensor] = {}
    at_step: list[float] = []

    def keep(name: str, p: Tensor) -> None:
        # The sum of everything since the last step, cleared or not.
        total = p.grad.detach().to_dense().double()
        made[name] = total - carried.get(name, 0.0) if name in carried else total.clone()

    carried: dict[str, Tensor] = {}

    def before_step(*_: object) -> None:
        held = [p.grad.to_dense().double().flatten() for p in live.values() if p.grad is not None]
        norm = float(torch.cat(held).norm()) if held else 0.0
        fresh = float(_flat(list(made.values())).norm()) if made else 0.0
        at_step.append(norm / fresh if fresh else math.nan)

    for n, p in live.items():
        p.register_post_accumulate_grad_hook(lambda p, n=n: keep(n, p))
    optimizer.register_step_pre_hook(before_step)
    start = {n: p.detach().double().clone() for n, p in live.items()}
    losses, moved, stuck, agree, shrink = [], [], [], [], []
    previous = None
    for index in range(training.steps):
        before = {n: p.detach().clone() for n, p in live.items()}
        carried = {
            n: p.grad.detach().to_dense().double().clone()
            for n, p in live.items()
            if p.grad is not None and training.train_step is not None
        }
        made.clear()
        # A loop that clears first has nothing to carry: seen by the gradient being smaller.
        losses.append(training.advance())
        if not math.isfinite(losses[-1]):
            break
        gone = {n: p.detach() - before[n] for n, p in live.items()}
        moved += [
            float(d.double().norm() / before[n].double().norm()) for n, d in gone.items()
            if before[n].any()
        ]  # fmt: skip
        hits = [(gone[n] == 0) & (p.grad.to_dense() != 0) for n, p in live.items()
                if p.grad is not None]  # fmt: skip
        if hits:
            stuck.append(float(torch.cat([h.flatten() for h in hits]).double().mean()))
        flat = _flat([p.grad.to_dense() for p in live.values() if p.grad is not None])
        if previous is not None and len(previous) == len(flat) and len(flat):
            agree.append(_cosine(previous, flat))
        previous = flat
        shrink.append(max(g["lr"] * g.get("weight_decay", 0) for g in optimizer.param_groups))
        if index == 9:
            got["edge"] = _edge(training)
    factors = [
        float(p.detach().double().norm() / start[n].norm())
        for n, p in live.items()
        if start[n].any()
    ]
    finite = [f for f in factors if math.isfinite(f) and f > 0]
    got["drift"] = max((max(f, 1 / f) for f in finite), default=math.nan)
    got["moved"] = statistics.median(moved) if moved else math.nan
    got["landed"] = statistics.median(at_step) if at_step else 0.0
    got["stuck"] = statistics.mean(stuck) if stuck else math.nan
    got["agree"] = statistics.mean(agree) if agree else math.nan
    got["shrink"] = max(shrink, default=0.0)
    if len(losses) < training.steps:
        got["rose"] = math.inf
        got["fell"] = -math.inf
        return
    early, late = losses[:5], losses[-5:]
    got["fell"] = (statistics.mean(early) - statistics.mean(late)) / (
        statistics.stdev(early) + 1e-3 * abs(statistics.mean(early)) + 1e-12
    )
    got["rose"] = max(losses[10:]) / max(*losses[:10], 1e-12)


def _text(value: float | str) -> str:
    if isinstance(value, str) or math.isnan(value):
        return "-"
    return f"{value:.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    names = [c.name for c in split("dev") if options.only in c.name]
    with ProcessPoolExecutor(options.jobs) as pool:
        rows = list(pool.map(measured, names))
    print(f"{'':34}" + "".join(f"{n[:8]:>9}" for n in NAMES))
    for row in rows:
        print(f"{str(row['name'])[:33]:34}" + "".join(f"{_text(row[n]):>9}" for n in NAMES))
    if options.json:
        options.json.write_text(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
