"""What the loop does to weights and gradients behind the optimizer's back, over a training.

Between two steps of the optimizer others may write to the weights (a clamp, a rounding, a copy
put back), and between the backward pass and the step to the gradients (a mask of zeros).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from isograd.monitor.changes import Change, Situation
from isograd.records.training import HALF_UNDONE

# Of weights that move freely one is the largest.
_AT_BOUND = 0.1
# Drawn weights are never 0; those that a mask of zeros is laid on are.
_MASKED = 0.5
# Draws of float32 hardly ever agree in more than a few entries.
_COARSE = 0.5
# Steps needed to say that something happens at each of them.
ENOUGH = 5


class Between:
    """Follows one training.

    Args:
        twin: Whose parameters are followed.
        trainer: Whose steps are the clock.
    """

    def __init__(self, twin: nn.Module, trainer: torch.optim.Optimizer) -> None:
        self._parameters = {n: p for n, p in twin.named_parameters() if p.requires_grad}
        self._trainer = trainer
        self._moved: dict[str, Tensor] = {}
        self._before: dict[str, Tensor] = {}
        self._after: dict[str, Tensor] = {}
        self._shares: dict[str, list[float]] = {name: [] for name in self._parameters}
        self._arrived: dict[str, int] = dict.fromkeys(self._parameters, 0)
        self._fresh: set[str] = set()
        self._steps = 0
        self._lost: dict[str, int] = dict.fromkeys(self._parameters, 0)

    @contextmanager
    def following(self) -> Iterator[None]:
        """Look at every step inside."""
        handles: list[Any] = [
            parameter.register_post_accumulate_grad_hook(self._arrival(name))
            for name, parameter in self._parameters.items()
            if parameter.is_leaf
        ]
        handles.append(self._trainer.register_step_pre_hook(self._pre))
        handles.append(self._trainer.register_step_post_hook(self._post))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def undone(self) -> dict[str, float]:
        """Per parameter, the median share of a step that is taken back before the next one."""
        return {n: median(s) for n, s in self._shares.items() if len(s) >= ENOUGH}

    def thrown(self) -> tuple[str, ...]:
        """Parameters whose gradient arrives and is gone at every step of the optimizer."""
        return tuple(
            name
            for name, lost in self._lost.items()
            if lost >= ENOUGH and lost == self._arrived[name]
        )

    def _arrival(self, name: str) -> Any:
        def hook(parameter: Tensor) -> None:
            gradient = parameter.grad
            if gradient is not None and gradient.layout is torch.strided and bool(gradient.any()):
                self._fresh.add(name)

        return hook

    @torch.no_grad()
    def _pre(self, *_: Any) -> None:
        held = {id(p) for group in self._trainer.param_groups for p in group["params"]}
        for name, parameter in self._parameters.items():
            now = parameter.detach()
            if name in self._after:
                moved = self._moved[name]
                back = self._after[name] - now
                # A write that is larger than the step takes it back where it points against it:
                # weights that are scaled are not.
                size = float(moved.norm()) * max(float(moved.norm()), float(back.norm()))
                if size > 0:
                    self._shares[name].append(float((back * moved).sum()) / size)
            if name in self._fresh and id(parameter) in held:
                self._arrived[name] += 1
                gone = parameter.grad is None or not bool(parameter.grad.any())
                self._lost[name] += gone
            self._before[name] = now.clone()
        self._fresh.clear()

    @torch.no_grad()
    def _post(self, *_: Any) -> None:
        for name, before in self._before.items():
            after = self._parameters[name].detach().clone()
            self._after[name], self._moved[name] = after, after - before
        self._before.clear()


@contextmanager
def kept_gradients(twin: nn.Module, trainer: torch.optim.Optimizer) -> Iterator[None]:
    """A gradient that arrived and is gone when the optimizer steps is put back."""
    known: dict[Tensor, Tensor] = {}

    def arrived(parameter: Tensor) -> None:
        if parameter.grad is not None:
            known[parameter] = parameter.grad.detach().clone()

    def before(*_: Any) -> None:
        for parameter, gradient in known.items():
            if parameter.grad is None or not bool(parameter.grad.any()):
                parameter.grad = gradient
        known.clear()

    handles: list[Any] = [
        p.register_post_accumulate_grad_hook(arrived)
        for p in twin.parameters()
        if p.requires_grad and p.is_leaf
    ]
    handles.append(trainer.register_step_pre_hook(before))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def kept_weights(twin: nn.Module, trainer: torch.optim.Optimizer) -> Iterator[None]:
    """Weights are what the optimizer left, whoever wrote to them since."""
    known: dict[Tensor, Tensor] = {}

    @torch.no_grad()
    def restored(*_: Any) -> None:
        for parameter, value in known.items():
            parameter.copy_(value)

    def after(*_: Any) -> None:
        for parameter in twin.parameters():
            if parameter.requires_grad:
                known[parameter] = parameter.detach().clone()

    handles: list[Any] = [
        twin.register_forward_pre_hook(restored),
        trainer.register_step_pre_hook(restored),
        trainer.register_step_post_hook(after),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def behind(case: Situation) -> Iterator[Change]:
    """Changes that undo what the loop does behind the optimizer's back, where it does."""
    if not case.poor:
        return
    thrown = case.training.thrown
    if thrown:
        yield Change("gradients", kept_gradients, len(thrown), ", ".join(thrown))
    if case.training.written == "mask":
        return  # a pruned net
    if any(share > HALF_UNDONE for share in case.training.undone.values()):
        yield Change("writes", kept_weights, detail=case.training.written)


@torch.no_grad()
def written(twin: nn.Module, undone: dict[str, float]) -> str:
    """How weights look whose steps are mostly taken back; see `Training.written`."""
    names = [name for name, share in undone.items() if share > HALF_UNDONE]
    if not names:
        return ""
    parameters = dict(twin.named_parameters())
    values = torch.cat([parameters[name].detach().double().flatten() for name in names])
    size = values.abs()
    top = float(size.max()) if values.numel() else 0.0
    if top <= 0:
        return ""
    if _MASKED < float((size == 0).double().mean()) < 1:
        return "mask"
    at_top = size >= top * (1 - 1e-6)
    inside = values[~at_top & (size > 0)]
    if torch.unique(inside).numel() < _COARSE * inside.numel():
        return "grid"
    return "bound" if int(at_top.sum()) > max(1.0, _AT_BOUND * values.numel()) else ""
