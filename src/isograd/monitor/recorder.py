"""Follows an optimizer: gradient, update and weight norms at each step it takes.

Hooks stand at the optimizer's own step, so whatever loop the user wrote is seen as it is: with
accumulation, clipping or a missing zero_grad. The recorder reads and never writes.
"""

from __future__ import annotations

import math
import time
from array import array
from typing import Any

import torch
from torch import Tensor, nn

from isograd.monitor.optimizers import facts
from isograd.records.snapshot import Snapshot
from isograd.records.training import OptimizerFacts, ParameterTrack, Training

# Own time / time between steps that is never exceeded for long; see `_due`.
BUDGET = 0.05
# The start of a training tells most: these steps are recorded whole whatever they cost.
_DENSE_STEPS = 100


class Recorder:
    """Numbers of each step of one model and optimizer.

    Args:
        model: Whose parameters are followed.
        optimizer: Whose steps are the clock.
        dense: Record every step; otherwise only as often as the budget allows.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, *, dense: bool = False
    ) -> None:
        self._parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self._optimizer = optimizer
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        self._held = [n for n, p in self._parameters.items() if id(p) in held]
        self.facts: OptimizerFacts = facts(optimizer, model)
        self._dense = dense
        self.steps = 0
        self._losses = array("d")
        self._rates = array("d")
        self._tracks: dict[str, tuple[list[float], ...]] = {
            name: ([], [], [], [], []) for name in self._parameters
        }
        self._latest_loss: Tensor | float | None = None
        self._raw: dict[str, float] = {}
        self.backwards: list[int] = []
        self.clip_ratios: list[float] = []
        self._backwards = 0
        self.stale: list[float] = []
        self._stepped = False
        self._last_norm = 0.0
        self._left: float | None = None
        self._told = False
        self._inside = False
        self._before: dict[str, Tensor] = {}
        self._moved: dict[str, Tensor] = {}
        self._slope = 0.0
        self.secants: list[float] = []
        self.inputs = array("d")
        self.targets = array("d")
        self._recording = True
        self._spent = 0.0
        self._started = time.perf_counter()
        self._handles: list[Any] = []

    def attach(self) -> None:
        """Start following."""
        optimizer = self._optimizer
        self._handles = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]

    def detach(self) -> None:
        """Stop following; nothing is left on the optimizer."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._before.clear()
        self._moved.clear()

    def before_backward(self) -> None:
        """Tell it that a backward pass begins: what lies in `.grad` now will be added to."""
        if not (self._stepped and self._recording):
            return
        left = self._total({n: _norm(p.grad) for n, p in self._parameters.items()})
        share = left / self._last_norm if self._last_norm > 0 else 0.0
        self._left = share if self._left is None else min(self._left, share)

    def saw_backward(self, loss: Tensor) -> None:
        """Tell it that a backward pass from `loss` has run."""
        self._backwards += 1
        self._latest_loss = loss.detach()
        if self._losses and math.isnan(self._losses[-1]) and self._inside:
            self._losses[-1] = float(self._latest_loss)  # inside the optimizer's own closure
        if self._recording:
            self._raw = {n: _norm(p.grad) for n, p in self._parameters.items()}

    def saw_loss(self, value: float) -> None:
        """Tell it the loss of the step that comes next."""
        self._latest_loss = value
        self._told = True

    def finite(self) -> bool:
        """False if the latest loss, or the gradient the optimizer saw last, is NaN or infinite."""
        loss = self.latest()
        return math.isfinite(self._last_norm) and (loss is None or math.isfinite(loss))

    def latest(self) -> float | None:
        """Loss of the latest backward pass."""
        return None if self._latest_loss is None else float(self._latest_loss)

    def training(self, stopped: str = "", end: Snapshot | None = None) -> Training:
        """What was seen so far."""
        return Training(
            loss=tuple(self._losses),
            learning_rate=tuple(self._rates),
            parameters={
                name: ParameterTrack(*(tuple(values) for values in track))
                for name, track in self._tracks.items()
            },
            optimizer=self.facts,
            stopped=stopped,
            end=end,
            backwards=tuple(self.backwards),
            clip_ratio=tuple(self.clip_ratios),
            stale=tuple(self.stale),
            secant=tuple(self.secants),
            inputs=tuple(self.inputs),
            targets=tuple(self.targets),
        )

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._inside = True
        self._recording = self._due()
        loss = self._latest_loss if self._backwards or self._told else None
        self._losses.append(math.nan if loss is None else float(loss))
        self._rates.append(
            max((float(g.get("lr", 0.0)) for g in optimizer.param_groups), default=0)
        )
        if not self._recording:
            self._slope = 0.0
            self._moved.clear()
            return
        begin = time.perf_counter()
        with torch.no_grad():
            if self._slope < 0:
                self.secants.append(1 - self._along() / self._slope)
            seen = {}
            for name, parameter in self._parameters.items():
                seen[name] = _norm(parameter.grad)
                self._tracks[name][0].append(seen[name])
                weight = _norm(parameter)
                self._tracks[name][2].append(weight)
                self._tracks[name][4].append(_radial(parameter, seen[name] * weight))
                self._before[name] = parameter.detach().clone()
        raw, now = self._total(self._raw), self._total(seen)
        if self._left is not None:
            self.stale.append(self._left)
            self._left = None
        self.clip_ratios.append(now / raw if raw > 0 else 1.0)
        self._last_norm = now
        self.backwards.append(self._backwards)
        self._spent += time.perf_counter() - begin

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self.steps += 1
        self._inside = False
        self._stepped = True
        self._backwards = 0
        if not self._recording:
            return
        begin = time.perf_counter()
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                before = self._before.pop(name)
                track = self._tracks[name]
                self._moved[name] = parameter.detach() - before
                track[1].append(_norm(self._moved[name]))
                if parameter.dtype in (torch.float16, torch.bfloat16):
                    track[3].append(float((parameter != before).float().mean()))
            self._slope = self._along()
        self._spent += time.perf_counter() - begin

    def _along(self) -> float:
        """Slope of the loss along the latest update, by the gradients that are there."""
        total = 0.0
        for name, update in self._moved.items():
            gradient = self._parameters[name].grad
            if gradient is not None and gradient.layout is torch.strided:
                total += float(torch.sum(update.float() * gradient.float().conj()).real)
        return total if math.isfinite(total) else 0.0

    def saw_flow(self, inputs: float, targets: float) -> None:
        """Tell it how large inputs and targets of this step are."""
        self.inputs.append(inputs)
        self.targets.append(targets)

    def _total(self, norms: dict[str, float]) -> float:
        """Norm over the parameters that the optimizer holds."""
        return math.hypot(*(norms[name] for name in self._held if name in norms))

    def _due(self) -> bool:
        if self._dense or self.steps < _DENSE_STEPS:
            return True
        return self._spent <= BUDGET * (time.perf_counter() - self._started)


def _radial(parameter: Tensor, norms: float) -> float:
    """Cosine between a parameter and its gradient."""
    gradient = parameter.grad
    if gradient is None or not 0 < norms < math.inf or gradient.layout is not torch.strided:
        return 0.0
    dot = torch.sum(parameter.detach().float() * gradient.float().conj())
    return float(dot.real) / norms


def _norm(tensor: Tensor | None) -> float:
    if tensor is None:
        return 0.0
    tensor = tensor.detach()
    if tensor.layout is not torch.strided:
        tensor = tensor.coalesce().values()
    return float(torch.linalg.vector_norm(tensor.double() if tensor.numel() < 4096 else tensor))
