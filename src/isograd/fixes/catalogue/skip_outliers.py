"""Batches whose numbers are far out of the usual range do not count."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from isograd.fixes.calls import Replaced
from isograd.fixes.expressions import model_input, step_value, wrapped
from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.once import once
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError
from isograd.fixes.rewind import Rewind
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_LOSSES = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
_BATCHES = 32
# A batch is out of range if its largest entry is this many times that of the median batch: data in
# other units differ by 1000, and among 32 batches of even heavy-tailed data few differ by 20. The
# bound lies between.
_FAR, _BOUND = 20.0, 4.0


@register
class SkipOutliers(Kind):
    """The loss of such a batch is 0, and so is its gradient."""

    name = "skip-outliers"
    cures = frozenset(("G702", "data", "labels"))
    part = "step"
    redefines = True
    reference = "Tukey (1977)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where a few batches of 32 are far larger than the rest, in inputs or in targets."""
        if case.setup.train_step is not None:
            return
        inputs, targets, line = ranges(case.setup)
        bounds = {"inputs": _bound(inputs), "targets": _bound(targets)}
        if any(bounds.values()):
            what = " and ".join(f"{k} beyond {v:.3g}" for k, v in bounds.items() if v)
            yield Proposal(
                f"leave out batches with {what}",
                {**bounds, "line": line},
                snippet=f"loss = loss if x.abs().max() < {max(filter(None, bounds.values())):.3g} "
                "else 0 * loss\n",
                undo="Count all batches.",
                weight=0.6,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Look at what enters the model and the loss."""
        step, inputs, targets = setup.step, parameters["inputs"], parameters["targets"]

        def guarded(model: nn.Module) -> Any:
            with _Seen(model) as seen:
                loss = step(model)
            far = (inputs and not max(seen.inputs, default=0) < inputs) or (
                targets and not max(seen.targets, default=0) < targets
            )
            if not far:
                return loss
            # A step that moves nothing, of a loss that may be infinite.
            return sum(0.0 * p.sum() for p in model.parameters() if p.requires_grad)

        setup.step = guarded
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The value that the step returns."""
        p = fix.parameters
        file, value = step_value(source)
        tests = []
        if p["inputs"]:
            x = file.code(model_input(source))
            tests.append(f"{wrapped(x)}.abs().max() < {p['inputs']:.3g}")
        if p["targets"]:
            found = source.calls_at(p["line"], _LOSSES)
            if not found or len(found[0][1].args) < 2:
                raise NotInSourceError("the targets were not found")
            y = found[0][0].code(found[0][1].args[1])
            tests.append(f"{wrapped(y)}.abs().max() < {p['targets']:.3g}")
        loss = file.code(value)
        file.replace(value, f"({loss} if {' and '.join(tests)} else 0 * {wrapped(loss)})")


def _bound(largest: tuple[float, ...]) -> float | None:
    """Between the usual batches and those far out; None if there are none, or they are many."""
    known = [v for v in largest if math.isfinite(v)]
    if not known:
        return None
    usual = median(known)
    far = [v for v in largest if not v <= _FAR * usual]
    if usual <= 0 or not far or len(far) > len(largest) / 3:
        return None
    return float(f"{_BOUND * max(v for v in known if v <= _FAR * usual):.2g}")


@once
def ranges(setup: Setup) -> tuple[tuple[float, ...], tuple[float, ...], str | None]:
    """Largest entry of inputs and of targets in each of some batches, and the loss's line."""
    twin, rewind = setup.copied(), Rewind(setup.step, setup.train_step)
    inputs: list[float] = []
    targets: list[float] = []
    line: str | None = None
    try:
        for _ in range(_BATCHES):
            with torch.no_grad(), _Seen(twin.model) as seen:
                setup.step(twin.model)
            inputs.append(max(seen.inputs, default=0.0))
            targets.append(max(seen.targets, default=0.0))
            line = line or seen.line
    except Exception:  # what cannot run here is no candidate
        return (), (), None
    finally:
        rewind.restore()
    return tuple(inputs), tuple(targets), line


class _Seen:
    """Largest entries of a model's floating-point inputs and of the targets of its loss."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.inputs: list[float] = []
        self.targets: list[float] = []
        self.line: str | None = None

    def __enter__(self) -> _Seen:
        self._hook = self._model.register_forward_pre_hook(self._enters, with_kwargs=True)
        self._mode = Replaced(_LOSSES, (), self._compared)
        self._mode.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._mode.__exit__(*exception)
        self._hook.remove()

    def _enters(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.inputs += [_largest(v) for v in (*args, *kwargs.values()) if _is_real(v)]

    def _compared(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        target = args[1] if len(args) > 1 else kwargs.get("target")
        if _is_real(target):
            self.targets.append(_largest(target))
            self.line = self.line or self._mode.line()
        return func(*args, **kwargs)


def _is_real(value: Any) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and value.is_floating_point() and value.numel() > 0


def _largest(tensor: Tensor) -> float:
    return float(tensor.detach().abs().max())
