"""The ripple where forward mode is not possible: the whole step, twice, one op at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from isograd.capture import kinds, transforms
from isograd.capture.forward_mode import ForwardRun
from isograd.capture.guard import untouched
from isograd.capture.norms import combined, dense, norm_and_nonfinite
from isograd.capture.places import Place, Places
from isograd.capture.probe import Step, _eager, call_step
from isograd.capture.ripple_step import moved, require_scalar
from isograd.capture.tagger import _plan, _tensors
from isograd.records.ripple import RippleLink

# Relative to the parameter's norm: rounding and truncation of central differences balance.
_STEPS = {torch.float64: 1e-5, torch.complex128: 1e-5, torch.float32: 3e-3, torch.complex64: 3e-3}
_STEP_LOW = 3e-2


def difference_run(
    model: nn.Module, step: Step, parameter: Tensor, direction: Tensor
) -> ForwardRun:
    """Run the step at both sides of the parameter and compare every output.

    Keeps the outputs of one run in memory. The gain of a link is taken against the link before
    it, as inputs are not followed.

    Raises:
        StepError: If the step fails or changes the model.
    """
    size = norm_and_nonfinite(dense(parameter))[0] or 1.0
    h = _STEPS.get(parameter.dtype, _STEP_LOW) * size
    values = parameter.detach().clone()
    kept: list[tuple[str, list[Tensor]]] = []
    run = ForwardRun(math.nan, math.nan)

    def keep(name: str, outputs: list[Tensor], place: Callable[[], Place]) -> None:
        kept.append((name, [dense(t).clone() for t in outputs]))

    number = 0
    aligned = True

    def compare(name: str, outputs: list[Tensor], place: Callable[[], Place]) -> None:
        nonlocal number, aligned
        aligned = aligned and number < len(kept) and kept[number][0] == name
        if not aligned:
            return
        before = kept[number][1]
        kept[number] = (name, [])
        number += 1
        pairs = list(zip(before, map(dense, outputs), strict=False))
        if any(a.shape != b.shape for a, b in pairs):
            aligned = False
            return
        change = combined([norm_and_nonfinite((a - b).double())[0] for a, b in pairs]) / (2 * h)
        if not change:
            run.unreached += 1
            return
        where = place()
        previous = run.links[-1].norm_of_change if run.links else 1.0
        run.links.append(
            RippleLink(
                name,
                where.module,
                where.source,
                change,
                change / previous,
                kinds.kind_of(name, where.module_type),
                tuple(outputs[0].shape),
                "run",
            )
        )

    high = _run(model, step, parameter, values + h * direction, keep)
    low = _run(model, step, parameter, values - h * direction, compare)
    run.loss = (high + low) / 2
    run.tangent = (high - low) / (2 * h)
    if not aligned:
        run.unseen += 1
    return run


def _run(
    model: nn.Module,
    step: Step,
    parameter: Tensor,
    values: Tensor,
    told: Callable[[str, list[Tensor], Callable[[], Place]], None],
) -> float:
    guard = untouched(model)
    with moved(parameter, values), guard, _eager()(), _Outputs(model, guard.watch, told):
        loss = call_step(step, model)
        require_scalar(loss)
        loss = loss.detach()
        value = float(loss.real if loss.is_complex() else loss)
    guard.raise_if_changed()
    return value


class _Outputs(TorchFunctionMode):
    """Hands on the floating-point outputs of every Python-level call."""

    def __init__(self, model: nn.Module, watch: Any, told: Callable[..., None]) -> None:
        super().__init__()
        self._watch, self._told = watch, told
        self._places = Places(model)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        import sys

        kwargs = kwargs or {}
        plan = _plan(func)
        if plan is None:
            return func(*args, **kwargs)
        self._watch.before_call(func, args, kwargs)
        if not isinstance(plan, str):
            with self:
                return plan(*args, **kwargs)
        out = func(*args, **kwargs)
        outputs = _tensors((out,), {})
        if out is None:
            outputs = _tensors(args, kwargs)[:1]
        floats = [t for t in outputs if t.is_floating_point() or t.is_complex()]
        if floats and not transforms.active():
            frame = sys._getframe(1)
            self._told(plan, floats, lambda: self._places.here(frame, call_step.__code__))
        return out
