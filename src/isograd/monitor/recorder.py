"""Follows optimizers: gradient, update and weight norms at the steps they take.

It listens to the clock of the optimizers, so whatever loop the user wrote is seen as it is: with
accumulation, clipping or a missing zero_grad. It reads and never writes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from isograd.monitor.governor import Governor
from isograd.monitor.leftover import LOOKS, Leftover
from isograd.monitor.norms import dots, norms
from isograd.monitor.optimizers import facts, rate
from isograd.monitor.scaling import found
from isograd.monitor.tracks import Tracks
from isograd.records.snapshot import Snapshot
from isograd.records.training import OptimizerFacts, ParameterTrack, Training

_COARSE = frozenset((torch.float16, torch.bfloat16))


class Recorder:
    """Numbers of each step of one model and its optimizers.

    Args:
        model: Whose parameters are followed.
        optimizers: Whose steps are the clock; more may be added.
        governor: Decides which steps are recorded whole; all by default.

    Attributes:
        steps: Number of steps that have begun.
        full: True if this step is recorded whole.
        rate: Largest learning rate of the step in hand.
        noted: Loss of the step in hand, as far as it is known.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        governor: Governor | None = None,
    ) -> None:
        self._model = model
        self._parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self._governor = governor or Governor(None)
        self._optimizers: list[torch.optim.Optimizer] = []
        self._owned: dict[int, list[str]] = {}
        self._orphans: list[str] = list(self._parameters)
        self._all = list(self._parameters)
        self.facts: OptimizerFacts | None = None
        self.steps = 0
        self.full = True
        self.rate = 0.0
        self.noted: Tensor | float | None = None
        self._series = Tracks()
        self._latest_loss: Tensor | float | None = None
        self._raw: dict[str, float] = {}
        self._used: dict[str, float] = {}
        self._updates = 0
        self._updates_before = 0
        self._backwards = 0
        self._first = False
        self._any = False
        self._seen: dict[str, float] = {}
        self._price = 0.0
        self._last_norm = 0.0
        self._left: float | None = None
        self._lying: tuple[float, float | None] | None = None
        self._leftover = Leftover()
        self._told = False
        self._inside = False
        self._before: dict[str, Tensor] = {}
        self._moved: dict[str, Tensor] = {}
        self._slope = 0.0
        for optimizer in optimizers:
            self.adopted(optimizer)

    def adopted(self, optimizer: torch.optim.Optimizer) -> None:
        """Follow one more optimizer."""
        self._optimizers.append(optimizer)
        self._share_out()

    def left(self, optimizer: torch.optim.Optimizer) -> None:
        """Follow an optimizer no more."""
        self._optimizers = [kept for kept in self._optimizers if kept is not optimizer]
        self._share_out()

    def renewed(self) -> None:
        """The model has other parameters, or others of them are trained."""
        self._parameters = {n: p for n, p in self._model.named_parameters() if p.requires_grad}
        self._all += [name for name in self._parameters if name not in set(self._all)]
        self.release()
        self._share_out()

    def _share_out(self) -> None:
        """Each parameter belongs to the first optimizer that holds it."""
        self._leftover.forget()
        left = self._parameters
        self._owned = {}
        for optimizer in self._optimizers:
            held = {id(p) for group in optimizer.param_groups for p in group["params"]}
            self._owned[id(optimizer)] = [n for n, p in left.items() if id(p) in held]
            left = {n: p for n, p in left.items() if id(p) not in held}
        self._orphans = list(left)
        self.facts = facts(self._optimizers, self._model)

    def release(self) -> None:
        """Let go of what was kept of the last step."""
        self._before.clear()
        self._moved.clear()
        self._slope = 0.0

    def before_backward(self) -> None:
        """Tell it that a backward pass begins: what lies in `.grad` now will be added to."""
        self._updates_before = self._updates
        if not (self._any and self.full):
            self.look()
            return
        begin = time.perf_counter()
        left = self._total(self._gradients(list(self._parameters)))
        share = left / self._last_norm if self._last_norm > 0 else 0.0
        self._lying = left, self._left
        self._left = share if self._left is None else min(self._left, share)
        self._spent(begin)

    def look(self) -> None:
        """A backward pass begins in a step that is not recorded whole."""
        if self._leftover.waits:
            begin = time.perf_counter()
            self._leftover.look()
            self._governor.spend("full", time.perf_counter() - begin)

    def _stepped(self, optimizer: torch.optim.Optimizer) -> None:
        """The only optimizer has stepped: look now and then at what it leaves."""
        if self._knows_leftover() or not self._leftover.due(self.steps):
            return
        begin = time.perf_counter()
        names = self._owned.get(id(optimizer), [])
        self._leftover.stepped(self.steps, [self._parameters[name] for name in names])
        self._governor.spend("full", time.perf_counter() - begin)

    def _knows_leftover(self) -> bool:
        known = self._governor.budget == 0 or len(self._series.stale) >= LOOKS
        return known or len(self._optimizers) != 1

    def _keep_left(self) -> None:
        """A step begins: what was left of the last one is known."""
        seen = self._leftover.taken()
        left, self._left = self._left if self.full else seen, None
        if left is not None:
            self._series.stale.append(left)

    def saw_backward(self, loss: Tensor, factor: float = 1.0) -> None:
        """Tell it that a backward pass from `loss` has run.

        Args:
            loss: A scalar.
            factor: By what a gradient scaler multiplied the gradients.
        """
        self._backwards += 1
        self._latest_loss = loss.item() if loss.device.type == "cpu" else loss.detach()
        if self._inside:
            self._series.late_loss(self._latest_loss)  # inside the optimizer's own closure
        if self.full:
            begin = time.perf_counter()
            self._raw = self._gradients(list(self._parameters))
            if self._lying is not None and self._total(self._raw) == self._lying[0]:
                self._left = self._lying[1]  # it was another model's, and added nothing
            self._lying = None
            if self._updates != self._updates_before:  # gradients were used on the way and may
                self._raw = {}  # be gone
            if factor not in (0.0, 1.0):
                self._raw = {name: value / factor for name, value in self._raw.items()}
            self._spent(begin)

    def saw_loss(self, value: float) -> None:
        """Tell it the loss of the step that comes next."""
        self._latest_loss = value
        self._told = True

    def saw_flow(self, inputs: float, targets: float) -> None:
        """Tell it how large inputs and targets of this step are."""
        self._series.flow(inputs, targets)

    def slept(self, losses: Sequence[Tensor | float | None], rates: Sequence[float]) -> None:
        """Steps were taken of which nothing else is known."""
        self.steps += len(losses)
        self._series.many(losses, rates)
        self.noted, self.rate = losses[-1], rates[-1]
        known = next((loss for loss in reversed(losses) if loss is not None), None)
        self._latest_loss = self._latest_loss if known is None else known
        self._backwards = 0
        self._any = True

    def unseen(self) -> float:
        """Steps from now on of which it need not hear."""
        if self._leftover.waits:
            return 0
        if self._knows_leftover():
            return math.inf
        return self._leftover.next - self.steps - 1

    @property
    def telling(self) -> Tensor | float | None:
        """The loss that the program told last; None if it does not tell."""
        return self._latest_loss if self._told else None

    def finite(self) -> bool:
        """False if the latest loss, or the gradient the optimizer saw last, is NaN or infinite."""
        loss = self.latest()
        return math.isfinite(self._last_norm) and (loss is None or math.isfinite(loss))

    def latest(self) -> float | None:
        """Loss of the latest backward pass."""
        return None if self._latest_loss is None else float(self._latest_loss)

    @property
    def names(self) -> list[str]:
        """Parameters that are followed now."""
        return list(self._parameters)

    @property
    def raw(self) -> dict[str, float]:
        """Gradient norms after the backward pass of the newest whole record, by name."""
        return self._used

    def latest_norms(self, name: str) -> tuple[float, float, float]:
        """Gradient, update and weight norm of a parameter at its newest whole record."""
        return self._series.latest(name)

    def training(self, stopped: str = "", end: Snapshot | None = None) -> Training:
        """What was seen so far."""
        series = self._series
        tracks = {name: series.track(name) for name in self._all}
        return Training(
            loss=series.losses(),
            learning_rate=tuple(series.rates),
            parameters={name: ParameterTrack(*track) for name, track in tracks.items()},
            optimizer=self.facts,
            stopped=stopped,
            end=end,
            backwards=tuple(series.backwards),
            clip_ratio=tuple(series.clip_ratios),
            stale=tuple(series.stale),
            secant=tuple(series.secants),
            inputs=tuple(series.inputs),
            targets=tuple(series.targets),
            frozen=tuple(n for n, p in self._parameters.items() if not p.requires_grad),
        )

    def begin_step(self, optimizer: torch.optim.Optimizer) -> None:
        """A step of the training begins with this optimizer."""
        self.steps += 1
        self._keep_left()
        self._first = True
        self._seen, self._used = {}, {}
        loss = self._latest_loss if self._backwards or self._told else None
        self.noted = loss
        self.rate = rate(optimizer)
        self._series.begin(loss, self.rate)
        if not self.full:
            return
        begin = time.perf_counter()
        self._series.begin_record()
        if self._slope < 0:
            self._series.secants.append(1 - self._along() / self._slope)
        self._series.backwards.append(self._backwards)
        self._spent(begin)

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer is about to step."""
        self._inside = True
        if not self.full or found(optimizer):
            return
        begin = time.perf_counter()
        names = self._owned.get(id(optimizer), [])
        if self._first:  # those that nobody owns go with the first
            names, self._first = names + self._orphans, False
        parameters = [self._parameters[n] for n in names]
        # What others add to these gradients later is no part of this step.
        self._used |= {name: self._raw[name] for name in names if name in self._raw}
        with torch.no_grad(), torch._C.DisableTorchFunction():
            gradients = self._gradients(names, optimizer)
            weights = norms(parameters)
            there = [value * _scale_left(optimizer) for value in gradients.values()]
            radials = _radial(parameters, there, weights)
            for name, weight, radial in zip(names, weights, radials, strict=True):
                self._series.before(name, gradients[name], weight, radial)
            self._before |= {n: self._parameters[n].detach().clone() for n in names}
            self._seen |= gradients
        self._spent(begin)

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer has stepped."""
        self._inside = False
        self._any = True
        self._backwards = 0
        self._updates += 1
        self._stepped(optimizer)
        if not self.full or not self._before:
            return
        begin = time.perf_counter()
        names = list(self._before)
        with torch.no_grad(), torch._C.DisableTorchFunction():
            for name in names:
                after, before = self._parameters[name].detach(), self._before[name]
                fine = after.dtype not in _COARSE
                self._moved[name] = after - before if fine else after.float() - before.float()
            moved = norms([self._moved[name] for name in names])
            for name, update in zip(names, moved, strict=True):
                parameter, before = self._parameters[name], self._before.pop(name)
                landed = _landed(parameter, before) if parameter.dtype in _COARSE else None
                self._series.after(name, update, landed)
            self._last_norm = self._total(self._seen)
            self._slope = self._along()
        self._spent(begin)

    def end_step(self) -> None:
        """Nothing more belongs to this step."""
        if self.full and self._seen:
            raw = self._total({n: self._used[n] for n in self._seen if n in self._used})
            self._series.clipped(self._last_norm / raw if 0 < raw < math.inf else 1.0)

    def plan(self) -> None:
        """Decide how the next step is recorded."""
        if self.full:
            self._governor.price("full", self._price)
            self._price = 0.0
        self.full = self._governor.due("full")
        if not self.full:
            self._moved.clear()
            self._slope = 0.0

    def _gradients(
        self, names: Sequence[str], optimizer: torch.optim.Optimizer | None = None
    ) -> dict[str, float]:
        with torch.no_grad():
            values = norms([self._parameters[name].grad for name in names])
        scale = _scale_left(optimizer)
        if scale != 1:
            values = [value / scale for value in values]
        return dict(zip(names, values, strict=True))

    def _along(self) -> float:
        """Slope of the loss along the latest update, by the gradients that are there."""
        pairs: list[tuple[Tensor, Tensor]] = []
        for name, update in self._moved.items():
            gradient = self._parameters[name].grad
            if gradient is not None and gradient.layout is torch.strided:
                pairs.append((update, gradient))
        total = sum(dots(pairs))
        return total if math.isfinite(total) else 0.0

    def _total(self, values: dict[str, float]) -> float:
        """Norm over the parameters that an optimizer holds."""
        owned = (name for names in self._owned.values() for name in names)
        return math.hypot(*(values[name] for name in owned if name in values))

    def _spent(self, begin: float) -> None:
        took = time.perf_counter() - begin
        self._price += took
        self._governor.spend("full", took)


def _landed(parameter: Tensor, before: Tensor) -> float | None:
    """Share of the entries with a gradient that a step has changed; None without a gradient.

    A unit that is off and an input that is always 0 leave weights as they are by right.
    """
    changed = parameter != before
    gradient = parameter.grad
    if gradient is None or gradient.layout is not torch.strided:
        return float(changed.float().mean())
    meant = gradient != 0
    count = int(meant.sum())
    return int((changed & meant).sum()) / count if count else None


def _scale_left(optimizer: torch.optim.Optimizer | None) -> float:
    """The loss scale that is still on the gradients: a fused optimizer divides by it itself."""
    scale = getattr(optimizer, "grad_scale", None)
    return float(scale) if isinstance(scale, Tensor) and float(scale) > 0 else 1.0


def _radial(
    parameters: Sequence[Tensor], gradients: Sequence[float], weights: Sequence[float]
) -> list[float]:
    """Cosine between each parameter and its gradient; 0.0 where there is none."""
    out = [0.0] * len(parameters)
    known: list[int] = []
    for at, parameter in enumerate(parameters):
        size, gradient = gradients[at] * weights[at], parameter.grad
        if gradient is not None and 0 < size < math.inf and gradient.layout is torch.strided:
            known.append(at)
    pairs = [(parameters[at], parameters[at].grad) for at in known]
    for at, product in zip(known, dots(pairs), strict=True):  # type: ignore[arg-type]
        out[at] = product / (gradients[at] * weights[at])
    return out
