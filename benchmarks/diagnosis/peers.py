"""Published rules of other tools, reimplemented from their descriptions, on the same trainings.

Constants are those of the papers and repositories; what a tool measures per epoch is measured here
per period of `PERIOD` steps, and where a rule waits for the end of training, the check's last step
is the end. A tool counts as finding a fault if any of its rules fires. Only AutoTrainer and
DeepDiagnosis name a kind of problem; none of the kinds is one of our causes, so no cause is scored.

    autotrainer     ICSE'21: first / last weight-gradient ratio, zero gradients, accuracy gates
    deepdiagnosis   ICSE'22: mean |dW|, dead and saturated units, constant loss, update ratio
    deeplocalize    ICSE'21: NaN, zero or unchanged means of outputs, weights and gradients
    sagemaker       Debugger's default rule parameters
    thedeepchecker  TOSEM'22: init F-test, loss at init, gradients, update ratio, stagnation
    global-norm     alarm if the whole gradient's norm is not finite or above 10 times the largest
                    of the first ten, or below 1e-6
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

from torch import Tensor, nn

from diagnosis.registry import Training

PERIOD = 5
F_TEST = 2.70554
_RELU = (nn.ReLU, nn.ReLU6)
_BOUNDED = (nn.Sigmoid, nn.Tanh, nn.Hardtanh)


@dataclass(slots=True)
class Trace:
    """What a training shows to tools that watch tensors.

    Attributes:
        loss: Per step.
        grads: Per step and parameter with at least two axes: norm, mean of the absolute value,
            share of zeros, largest entry.
        weights: The same after the step: mean, standard deviation, norm of the update / norm.
        outputs: Per step and leaf module: mean and standard deviation of its output.
        dead: Per step and ReLU module, share of units silent on the batch.
        wide: Per step and bounded activation, share of inputs beyond 5.
        init: Per weight: its variance times fan_in, and its fan_out / fan_in.
        odd_inputs: The first module's input is neither within [-1, 1] nor standardised.
        logits: Classes of the last output at the start; 0 unless the loss looks like CE.
        failed: Message of an error that ended the training.
    """

    loss: list[float] = field(default_factory=list)
    grads: list[dict[str, tuple[float, float, float, float]]] = field(default_factory=list)
    weights: list[dict[str, tuple[float, float, float]]] = field(default_factory=list)
    outputs: list[dict[str, tuple[float, float]]] = field(default_factory=list)
    dead: list[dict[str, float]] = field(default_factory=list)
    wide: list[dict[str, float]] = field(default_factory=list)
    init: dict[str, tuple[float, float]] = field(default_factory=dict)
    odd_inputs: bool = False
    logits: int = 0
    failed: str = ""


def traced(training: Training) -> Trace:
    """Run a training for its `steps` and record what the peers look at."""
    trace = Trace()
    model = training.model
    owned = {n: p for n, p in model.named_parameters() if p.dim() > 1}
    for name, p in owned.items():
        fan_in = p[0].numel()
        trace.init[name] = (float(p.detach().float().var(correction=0)) * fan_in, len(p) / fan_in)
    gradients: dict[str, tuple[float, float, float, float]] = {}
    handles = [
        p.register_post_accumulate_grad_hook(lambda p, n=n: gradients.__setitem__(n, _grad(p.grad)))
        for n, p in owned.items()
        if p.requires_grad
    ]
    with warnings.catch_warnings(), _watched(model, trace):
        warnings.simplefilter("ignore")
        for _ in range(training.steps):
            before = {n: p.detach().clone() for n, p in owned.items()}
            gradients.clear()
            trace.outputs.append({})
            trace.dead.append({})
            trace.wide.append({})
            try:
                trace.loss.append(training.advance())
            except (IndexError, RuntimeError) as error:
                trace.failed = str(error)
                break
            trace.grads.append(dict(gradients))
            trace.weights.append({n: _weight(p.detach(), before[n]) for n, p in owned.items()})
    for handle in handles:
        handle.remove()
    return trace


def _grad(g: Tensor | None) -> tuple[float, float, float, float]:
    if g is None or g.is_sparse:
        return (0.0, 0.0, 1.0, 0.0)
    a = g.detach().float().abs()
    return (float(a.norm()), float(a.mean()), float((a == 0).float().mean()), float(a.max()))


def _weight(p: Tensor, before: Tensor) -> tuple[float, float, float]:
    p, before = p.float(), before.float()
    ratio = float((p - before).norm() / before.norm().clamp_min(1e-12))
    return (float(p.mean()), float(p.std()), ratio)


@contextmanager
def _watched(model: nn.Module, trace: Trace) -> Iterator[None]:
    def look(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], object], None]:
        def hook(module: nn.Module, args: tuple[Tensor, ...], out: object) -> None:
            out = out[0] if isinstance(out, tuple) else out
            if not isinstance(out, Tensor) or not trace.outputs or not out.numel():
                return
            o = out.detach().float()
            trace.outputs[-1][name] = (float(o.mean()), float(o.std()) if o.numel() > 1 else 0.0)
            if not trace.loss:
                if len(trace.outputs[-1]) == 1 and args[0].is_floating_point():
                    trace.odd_inputs = _odd(args[0].float())
                trace.logits = o.shape[-1] if o.dim() > 1 else 0
            units = o.transpose(1, -1).flatten(0, -2) if o.dim() > 1 else o[:, None]
            if isinstance(module, _RELU):
                trace.dead[-1][name] = float((units <= 0).all(0).float().mean())
            if isinstance(module, _BOUNDED):
                trace.wide[-1][name] = float((args[0].abs() >= 5).float().mean())

        return hook

    leaves = [(n, m) for n, m in model.named_modules() if not list(m.children())]
    handles = [m.register_forward_hook(look(n)) for n, m in leaves]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _odd(x: Tensor) -> bool:
    standard = abs(float(x.mean())) < 0.5 and 0.5 < float(x.std()) < 2
    return float(x.abs().max()) > 1 and not standard


def _broken(t: Trace) -> bool:
    """Loss, weights, gradients or outputs are NaN or infinite at any step."""
    numbers = [*t.loss, *(g[0] for step in t.grads for g in step.values())]
    numbers += [w[1] for step in t.weights for w in step.values()]
    numbers += [o[0] for step in t.outputs for o in step.values()]
    return bool(t.failed) or any(not math.isfinite(v) for v in numbers)


def _periods(values: list[float]) -> list[float]:
    groups = [values[i : i + PERIOD] for i in range(0, len(values), PERIOD)]
    return [sum(g) / len(g) for g in groups]


def _run(flags: list[bool], length: int) -> bool:
    count = 0
    for flag in flags:
        count = count + 1 if flag else 0
        if count >= length:
            return True
    return False


def autotrainer(t: Trace) -> list[str]:
    """Gated by 'does not converge', which without an accuracy is a loss that fell by under 1 %."""
    found = ["explode: not finite"] if _broken(t) or max(t.loss, default=0) >= 1e3 else []
    means = _periods(t.loss)
    stuck = len(means) > 1 and means[-1] > 0.99 * means[0]
    # Accuracy gate: below 60 % (Theta) is nearly always true after 50 steps; the gain gate holds.
    for grads in t.grads[::3]:
        live = [g for g in grads.values() if g is not None]
        if not live or not stuck:
            continue
        first, last = live[0][0], live[-1][0]
        ratio = first / last if last else math.inf
        if ratio < 1e-3 and first < 1e-4:
            found.append("vanish: first / last below 1e-3 and first below 1e-4")
        if ratio > 70:
            found.append("explode: first / last above 70")
        if all(g[2] >= 0.7 for g in live):
            found.append("dying ReLU: 70 % zeros in each gradient")
    turns = [b - a for a, b in pairwise(means)]
    swings = sum(x * y < 0 for x, y in pairwise(turns))
    size = max((abs(d) for d in turns), default=0) / (abs(means[0]) + 1e-12) if means else 0
    if swings >= 0.2 * 3 * len(means) and size >= 0.03:
        found.append("unstable: oscillation")
    if stuck:
        found.append("does not converge")
    return sorted(set(found))


def deepdiagnosis(t: Trace) -> list[str]:
    """Rules of `callbacks.py`; its fix tree only runs once one of them has fired."""
    found = ["not finite"] if _broken(t) else []
    if any(g[1] < 1e-7 for step in t.grads for g in step.values()):
        found.append("vanish: mean |dW| below 1e-7")
    if t.dead and any(share >= 0.7 for share in t.dead[-1].values()):
        found.append("dead: 70 % at the end")
    if any(share > 0.5 for step in t.wide for share in step.values()):
        found.append("saturated: half beyond 5")
    if _unchanged(t):
        found.append("unchanged for 5")
    if _run([a == b for a, b in pairwise(t.loss)], 5):
        found.append("loss constant for 5")
    return found


def _unchanged(t: Trace) -> bool:
    series: dict[str, list[float]] = {}
    for step in t.outputs[::PERIOD]:
        for name, (mean, _) in step.items():
            series.setdefault(name, []).append(mean)
    for step in t.weights[::PERIOD]:
        for name, weight in step.items():
            series.setdefault("w." + name, []).append(weight[0])
    return any(
        _run([round(a, 7) == round(b, 7) for a, b in pairwise(s)], 5) for s in series.values()
    )


def deeplocalize(t: Trace) -> list[str]:
    """Per batch: NaN, zero for half of the batches, identical means for 5."""
    found = ["not finite"] if _broken(t) else []
    names = {n for step in t.outputs for n in step}
    for name in names:
        means = [step[name][0] for step in t.outputs if name in step]
        if sum(m == 0 for m in means) >= max(1, len(means) / 2):
            found.append("mean output is 0")
        if _run([round(a, 6) == round(b, 6) for a, b in pairwise(means)], 4):
            found.append("mean output identical for 5")
    if _run([a == b for a, b in pairwise(t.loss)], 4):
        found.append("loss identical for 5")
    weights = {n for step in t.weights for n in step}
    for name in weights:
        means = [step[name][0] for step in t.weights]
        if _run([a == b for a, b in pairwise(means)], 4):
            found.append("mean weight identical for 5")
    return sorted(set(found))


def sagemaker(t: Trace) -> list[str]:
    """Default parameters of the built-in rules, at every step."""
    found = ["ExplodingTensor"] if _broken(t) else []
    if any(g[1] < 1e-7 for step in t.grads for g in step.values()):
        found.append("VanishingGradient: mean |g| below 1e-7")
    if any(share > 0.5 for step in t.dead for share in step.values()):
        found.append("DeadRelu: half of the units")
    stds = [o[1] for o in (t.outputs[0] if t.outputs else {}).values() if o[1] > 0]
    if stds and (max(stds) / min(stds)) ** 2 > 10:
        found.append("PoorWeightInitialization: variance ratio above 10")
    ratios = [w[2] for step in t.weights for w in step.values()]
    if any(r > 10 or r < 1e-8 for r in ratios):
        found.append("WeightUpdateRatio outside 1e-8..10")
    if _run([b >= a for a, b in pairwise(_periods(t.loss))], 2):
        found.append("LossNotDecreasing for 10")
    return found


def thedeepchecker(t: Trace) -> list[str]:
    """Init, gradients, updates and loss; dead units by a near-zero 95th percentile."""
    found = ["not finite"] if _broken(t) else []
    for scaled, shape in t.init.values():
        # He, LeCun or Glorot, whichever is nearest.
        rules = (2.0, 1.0, 2 / (1 + shape))
        if min(max(scaled / r, r / max(scaled, 1e-12)) for r in rules) > F_TEST:
            found.append("init: variance ratio above 2.7")
    if t.logits > 1 and t.loss and abs(t.loss[0] - math.log(t.logits)) >= math.log(t.logits):
        found.append("loss at init off by ln C")
    means = [g[1] for step in t.grads for g in step.values()]
    if any(m < 1e-6 for m in means) or any(m > 1e6 for m in means):
        found.append("gradient mean outside 1e-6..1e6")
    ratios = [
        sum(math.log10(max(w[2], 1e-30)) for w in step.values()) / max(1, len(step))
        for step in t.weights
        if step
    ]
    if ratios and not -4 <= sum(ratios) / len(ratios) <= -1:
        found.append("update ratio outside 1e-4..1e-1")
    p = _periods(t.loss)
    if _run([b > 0.95 * a for a, b in pairwise(p)], 4):
        found.append("stagnation: under 5 % in 4 periods")
    if _run([b > 2 * a > 0 for a, b in pairwise(p)], 4):
        found.append("loss doubles 4 times")
    if any(share > 0.5 for step in t.dead for share in step.values()):
        found.append("dead: half of the units")
    if t.odd_inputs:
        found.append("inputs neither in -1..1 nor standardised")
    return sorted(set(found))


def global_norm(t: Trace) -> list[str]:
    """The rule of most training stacks: one norm, one threshold."""
    norms = [math.sqrt(sum(g[0] ** 2 for g in step.values())) for step in t.grads]
    if _broken(t):
        return ["not finite"]
    if not norms:
        return []
    if any(n > 10 * max(norms[:10]) for n in norms[10:]):
        return ["spike: 10 times the first ten"]
    return ["vanished: below 1e-6"] if norms[0] < 1e-6 else []


PEERS: dict[str, Callable[[Trace], list[str]]] = {
    "autotrainer": autotrainer,
    "deepdiagnosis": deepdiagnosis,
    "deeplocalize": deeplocalize,
    "sagemaker": sagemaker,
    "thedeepchecker": thedeepchecker,
    "global-norm": global_norm,
}
