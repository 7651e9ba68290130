"""Where a gradient goes wrong: each op alone, <u, J v> by differences against <J' u, v>."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from isograd.capture import directions, transforms
from isograd.capture.derivative import derivative, relative_error
from isograd.capture.guard import untouched
from isograd.capture.places import Places
from isograd.capture.probe import _eager, call_step
from isograd.capture.ripple_step import Bench
from isograd.capture.rng import RandomState
from isograd.capture.tagger import _LOCK, _plan, _tensors
from isograd.records.ripple import Reason, Suspect

_CUTS = frozenset(("detach", "detach_", "data"))
# These have no derivative of their own to compare, or write to what they read.
_SKIPPED = frozenset(("grad", "backward", "__setitem__", "requires_grad_", "clone"))
_POINTS = 2


def locate(bench: Bench, precision: str, tolerance: float) -> tuple[Suspect, ...]:
    """Run the step once and look at every op for a reason why gradients are wrong.

    First custom functions, cuts and hooks; where these explain nothing, all ops of torch's.

    Args:
        bench: What is checked.
        precision: Of its numbers.
        tolerance: Relative error up to which an op agrees.
    """
    for everything in (False, True):
        guard = untouched(bench.model)
        look = _Look(bench.model, precision, tolerance, everything)
        with guard, _eager()(), look.custom_functions(), bench.running(guard.watch), look:
            call_step(bench.step, bench.model)
        found = [*look.found, *(_module_hooks(bench.model) if not everything else ())]
        if found:
            return tuple(dict.fromkeys(found))
    return ()


def _module_hooks(model: nn.Module) -> Iterator[Suspect]:
    for path, module in model.named_modules():
        if module._backward_hooks or module._backward_pre_hooks:
            yield Suspect("backward hook", path, None, "hook")
    for name, parameter in model.named_parameters():
        if parameter._backward_hooks:
            yield Suspect("register_hook", name, None, "hook")


class _Look(TorchFunctionMode):
    """Checks calls one by one as the step makes them."""

    def __init__(
        self, model: nn.Module, precision: str, tolerance: float, everything: bool
    ) -> None:
        super().__init__()
        self.found: list[Suspect] = []
        self._places = Places(model)
        self._precision, self._tolerance, self._everything = precision, tolerance, everything
        self._resting = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") == "register_hook" and not self._resting:
            self._suspect("register_hook", "hook")
        plan = _plan(func)
        if plan is None or self._resting:
            return func(*args, **kwargs)
        if not isinstance(plan, str):
            with self:
                return plan(*args, **kwargs)
        inputs = _tensors(args, kwargs)
        tracked = any(t.requires_grad for t in inputs)
        out = func(*args, **kwargs)
        if not tracked:
            return out
        floats = [t for t in _tensors((out,), {}) if t.is_floating_point()]
        if floats and not any(t.requires_grad for t in floats):
            self._suspect(plan, "cut")
        elif self._everything and floats and plan not in _SKIPPED and not _writes(plan):
            self._compare(plan, func, args, kwargs, 2)
        return out

    @contextlib.contextmanager
    def custom_functions(self) -> Iterator[None]:
        """Also see `torch.autograd.Function.apply`."""
        mine = threading.get_ident()
        look = self

        @classmethod
        def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
            original = before.__get__(None, cls)
            if threading.get_ident() != mine or look._resting:
                return original(*args, **kwargs)
            look._resting = True
            try:
                out = original(*args, **kwargs)
                tracked = any(t.requires_grad for t in _tensors(args, kwargs))
                if tracked and torch.is_grad_enabled() and not transforms.active():
                    look._compare(cls.__name__, original, args, kwargs, 2)
            finally:
                look._resting = False
            return out

        with _LOCK:
            before = torch.autograd.Function.__dict__["apply"]
            torch.autograd.Function.apply = apply  # type: ignore[method-assign]
        try:
            yield
        finally:
            with _LOCK:
                torch.autograd.Function.apply = before  # type: ignore[method-assign]

    def _suspect(self, name: str, reason: Reason, error: float | None = None, up: int = 2) -> None:
        place = self._places.here(sys._getframe(up), call_step.__code__)
        self.found.append(Suspect(name, place.module, place.source, reason, error))

    def _compare(self, name: str, func: Any, args: Any, kwargs: Any, up: int) -> None:
        if transforms.active():
            return
        random = RandomState()
        resting, self._resting = self._resting, True
        try:
            error = op_error(func, args, kwargs, self._precision, self._tolerance)
        except Exception:  # an op that cannot be run on its own is no suspect
            error = 0.0
        finally:
            self._resting = resting
            random.restore()
        if error > self._tolerance:
            self._suspect(name, "backward", error, up + 1)


def op_error(
    func: Callable[..., Any],
    args: Any,
    kwargs: Any,
    precision: str = "float64",
    tolerance: float = 1e-5,
) -> float:
    """Relative error of an op's backward against central differences of its forward.

    Compares <u, J v> with <J' u, v> for random u and v; at a kink points near by decide, so the
    least error over some points counts.

    Args:
        func: Any call that writes to none of its arguments.
        args: Its arguments; tensors that require a gradient are varied.
        kwargs: Its keyword arguments.
        precision: Of the numbers.
        tolerance: Relative error up to which it agrees.

    >>> op_error(torch.sin, (torch.ones(3, dtype=torch.float64, requires_grad=True),), {}) < 1e-8
    True
    """
    leaves, spec = tree_flatten((args, kwargs))
    varied = [i for i, x in enumerate(leaves) if isinstance(x, Tensor) and x.requires_grad]
    random = RandomState()

    def run(tensors: list[Tensor]) -> list[Tensor]:
        random.restore()
        filled = [x.detach() if isinstance(x, Tensor) else x for x in leaves]
        for i, tensor in zip(varied, tensors, strict=True):
            filled[i] = tensor
        inner_args, inner_kwargs = tree_unflatten(filled, spec)
        return [t for t in _tensors((func(*inner_args, **inner_kwargs),), {}) if _floating(t)]

    least = float("inf")
    for point in range(_POINTS):
        start = [leaves[i].detach().clone() for i in varied]
        if point:
            start = [t + 0.02 * _size(t) * directions.gaussian(t, 50) for t in start]
        xs = [t.requires_grad_() for t in start]
        with torch.enable_grad():
            outs = [t for t in run(xs) if t.requires_grad]
            if not outs:
                return float("inf")
            us = [directions.gaussian(t, 60 + i) for i, t in enumerate(outs)]
            grads = torch.autograd.grad(outs, xs, us, allow_unused=True)
        ways = [directions.gaussian(t, 70 + i) * _size(t) for i, t in enumerate(xs)]
        ways = [
            way if g is None or not g.any() else way + _size(x) * g / g.norm()
            for way, g, x in zip(ways, grads, xs, strict=True)
        ]
        backward = sum(
            directions.inner(g, v) for g, v in zip(grads, ways, strict=True) if g is not None
        )
        places = [
            i
            for i, t in enumerate(run([x.detach().requires_grad_() for x in xs]))
            if t.requires_grad
        ]

        def along(shift: float, xs: Any = xs, ways: Any = ways, us: Any = us, at: Any = places):
            with torch.no_grad():
                shifted = [x.detach() + shift * v for x, v in zip(xs, ways, strict=True)]
                values = run(shifted)
                return sum(directions.inner(u, values[i]) for u, i in zip(us, at, strict=True))

        found = derivative(along, 1.0, precision, expected=backward, tolerance=tolerance / 10)
        gap = max(0.0, abs(found.value - backward) - found.uncertainty)
        scale = max(abs(found.value), abs(backward))
        least = min(least, gap / scale if scale > 10 * found.rounding else 0.0)
    return least if least != float("inf") else relative_error(0.0, 1.0)


def _size(tensor: Tensor) -> float:
    return float(tensor.detach().norm()) or float(max(1, tensor.numel()) ** 0.5)


def _floating(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _writes(name: str) -> bool:
    return name.endswith("_") and not name.endswith("__")
