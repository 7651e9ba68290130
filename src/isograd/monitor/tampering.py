"""Changes to what flows through a copy: its inputs, its targets, the terms of its loss."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from isograd.capture.probe import Step
from isograd.monitor.changes import Change, Entered, Situation
from isograd.monitor.detach import DETACHING, DRAWING, attached
from isograd.monitor.own_backward import torch_backward
from isograd.monitor.terms import NoSuchTermError, Scalars, loss_terms

# A net that is fed numbers of unit scale has columns within this factor of each other.
_SPREAD = 20.0
_LARGE, _SMALL = 10.0, 0.05
_FAR = 10.0
_SQUARED = ("mse_loss", "sub", "__sub__", "rsub", "__rsub__")
_ABSOLUTE = ("l1_loss", "smooth_l1_loss", "huber_loss")
_TERMS = 4
_CLASSES = ("cross_entropy", "binary_cross_entropy_with_logits")
# A layer of PyTorch's default init puts out logits spread by 0.3; He's by 1.4.
_FAINT, _LOUD = 0.01, 30.0
_FRESH = 0.1


def flows(case: Situation) -> Iterator[Change]:
    """Changes that the situation suggests."""
    if off_scale(case):
        yield Change("inputs", standardised_inputs)
    scale = _logits(case)
    if scale is not None:
        yield Change("logits", _scaled_output(scale), scale)
    target = _target(case)
    if target is not None:
        mean, std, power = target
        yield Change("targets", _standardised_targets(mean, std, power), std)
    if case.poor and any(
        cut.split(" ")[0] in (*DETACHING, *DRAWING)
        for cut in (case.start.cuts if case.start else ())
    ):
        yield Change("detach", attached)
    if case.failing and any(op.custom for op in (case.start.ops if case.start else ())):
        yield Change("backward", torch_backward)
    if case.failing and not case.late and not case.whole_step:
        for index in range(_TERMS):
            yield _without(index)


def off_scale(case: Situation) -> bool:
    """True if data that enters a layer is far from unit scale, or its columns from each other."""
    if case.start is None:
        return False
    for op in case.start.ops:
        stats = op.inputs
        if stats is None or op.sources or op.kind == "loss" or stats.rms == 0:
            continue
        if not math.isfinite(stats.rms):
            continue  # no scale is at fault
        uneven = stats.columns is not None and stats.columns > _SPREAD
        if not _SMALL < stats.rms < _LARGE or (uneven and stats.rms > 1):
            return True
    return False


@contextmanager
def standardised_inputs(twin: nn.Module, _: torch.optim.Optimizer) -> Iterator[None]:
    """Every floating-point input of the model with zero mean and unit variance per feature.

    The moments are those of the first batch. Features lie in dimension 1 of images, else in the
    last one.
    """
    known: dict[Any, tuple[Tensor, Tensor]] = {}

    def scaled(key: Any, value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.dim() < 2:
            return value
        kept = 1 if value.dim() >= 4 else value.dim() - 1
        dims = [d for d in range(value.dim()) if d != kept]
        if key not in known:
            std, mean = torch.std_mean(value, dims, keepdim=True, correction=0)
            known[key] = mean, torch.where(std > 0, std, torch.ones_like(std))
        mean, std = known[key]
        return (value - mean) / std

    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return (
            tuple(scaled(i, v) for i, v in enumerate(args)),
            {k: scaled(k, v) for k, v in kwargs.items()},
        )

    handle = twin.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _logits(case: Situation) -> float | None:
    """Spread of logits that are far too small or too large for their loss, if it fails."""
    if not case.failing or case.late:
        return None
    for call in case.start.losses if case.start else ():
        std = call.prediction.std
        if call.name in _CLASSES and math.isfinite(std) and std > 0:
            return std if not _FAINT < std < _LOUD else None
    return None


def _scaled_output(std: float) -> Entered:
    """The model's output, so that its logits are spread as a fresh layer's are."""
    wanted = _FRESH if std <= _FAINT else 1.0

    @contextmanager
    def enter(twin: nn.Module, _: torch.optim.Optimizer) -> Iterator[None]:
        def hook(_: nn.Module, __: Any, output: Any) -> Any:
            floating = isinstance(output, Tensor) and output.is_floating_point()
            return output * (wanted / std) if floating else output

        handle = twin.register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    return enter


def _target(case: Situation) -> tuple[float, float, int] | None:
    """Mean, spread and power of the loss of regression targets that lie far from the outputs."""
    calls = case.start.losses if case.start else ()
    regressions = [c for c in calls if c.name in (*_SQUARED, *_ABSOLUTE) and not c.integer_target]
    if len(regressions) != 1:
        return None
    call = regressions[0]
    std = call.target.std
    size = math.hypot(call.target.mean, std)
    reach = max(1.0, math.hypot(call.prediction.mean, call.prediction.std))
    if std <= 0 or not math.isfinite(size) or size < _FAR * reach:
        return None
    return call.target.mean, std, 2 if call.name in _SQUARED else 1


def _standardised_targets(mean: float, std: float, power: int) -> Entered:
    """The same as targets of zero mean and unit variance, in the user's units.

    The output is moved to the targets' mean and scale, and the gradient is that of the loss in
    standard units: divided by `std` for a squared loss, left alone for an absolute one.
    """

    class Units(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, output: Tensor) -> Tensor:
            return output * std + mean

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Tensor:
            return gradients[0] / std ** (power - 1)

    @contextmanager
    def enter(twin: nn.Module, _: torch.optim.Optimizer) -> Iterator[None]:
        def hook(_: nn.Module, __: Any, output: Any) -> Any:
            return Units.apply(output) if isinstance(output, Tensor) else output

        handle = twin.register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    return enter


def _without(index: int) -> Change:
    """Leave out one additive term of the loss."""

    def partial(step: Step) -> Step:
        def kept(model: nn.Module) -> Tensor:
            with torch.enable_grad(), Scalars() as scalars:
                loss = step(model)
                groups = loss_terms(loss, model, scalars.seen)
            if len(groups) < 2 or index >= len(groups):
                raise NoSuchTermError
            terms = [t for i, group in enumerate(groups) if i != index for t in group]
            return torch.stack([t.float() for t in terms]).sum()

        return kept

    return Change("penalty", lambda *_: nullcontext(), index, partial=partial)
