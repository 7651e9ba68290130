"""The step with a tangent on one parameter: forward-mode AD under a mode that labels each op.

The tangent is written into the user's own parameter (an in-place copy from a dual tensor), so
tied weights, parametrisations, flat weights of fused layers and parameters caught in closures
all carry it; it disappears with the dual level, and the values keep their bits.
"""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from isograd.capture import kinds, local_difference, transforms
from isograd.capture.directions import unversioned
from isograd.capture.guard import untouched
from isograd.capture.norms import combined, dense, norm_and_nonfinite
from isograd.capture.places import Place, Places
from isograd.capture.probe import Step, _eager, call_step
from isograd.capture.ripple_step import require_scalar
from isograd.capture.rng import RandomState
from isograd.capture.tagger import _LOCK, _ORIGINAL, Watchful, _plan, _tensors
from isograd.records.op import Kind
from isograd.records.ripple import Method, RippleEnd, RippleLink

# Calls at which a path ends for the derivative, though not for the value.
_ENDS = frozenset("detach detach_ data numpy __array__ tolist argmax argmin multinomial".split())
_BACKWARDS = frozenset(("grad", "backward"))


class NoForwardError(Exception):
    """Forward mode is not possible here; the whole step has to be differenced."""


@dataclass(slots=True)
class ForwardRun:
    """What a forward-mode run found; `tangent` is the change of the loss."""

    loss: float
    tangent: float
    links: list[RippleLink] = field(default_factory=list)
    ends: list[RippleEnd] = field(default_factory=list)
    unreached: int = 0
    unseen: int = 0


def forward_run(model: nn.Module, step: Step, parameter: Tensor, direction: Tensor) -> ForwardRun:
    """Run the step once with `direction` as tangent of `parameter`.

    Raises:
        NoForwardError: If an op can neither be differentiated forward nor differenced alone.
        StepError: If the step itself fails or changes the model.
    """
    guard = untouched(model)
    with guard:
        mode = RippleMode(model, guard.watch, parameter, direction)
        with forward_ad.dual_level():
            _attach(parameter, direction)
            with _eager()(), mode.custom_functions(), mode:
                loss = call_step(step, model)
            require_scalar(loss)
            primal, tangent = forward_ad.unpack_dual(loss)
            value = _scalar(primal)
            run = ForwardRun(
                value,
                0.0 if tangent is None else _scalar(tangent),
                mode.links,
                list(dict.fromkeys(mode.ends)),
                mode.unreached,
                mode.unseen,
            )
            del loss, primal, tangent
    guard.raise_if_changed()
    return run


def _attach(parameter: Tensor, direction: Tensor) -> None:
    with torch.no_grad(), unversioned(parameter):
        try:
            with warnings.catch_warnings():  # torch loads its own formulas with torch.jit.script
                warnings.simplefilter("ignore", DeprecationWarning)
                forward_ad.make_dual(direction, direction)
            dual = forward_ad.make_dual(parameter.detach().clone(), direction)
            parameter.copy_(dual)
        except (RuntimeError, NotImplementedError) as error:
            raise NoForwardError(str(error)) from error


def _scalar(value: Tensor) -> float:
    value = value.detach()
    return float(value.real if value.is_complex() else value)


class RippleMode(TorchFunctionMode):
    """Notes for every Python-level call by how much its output changes.

    Args:
        model: Its parameters and modules give the names.
        watch: Told of every call that might write to a parameter, before it runs.
        root: The parameter that carries the tangent.
        direction: The tangent.
    """

    def __init__(self, model: nn.Module, watch: Watchful, root: Tensor, direction: Tensor) -> None:
        super().__init__()
        self.links: list[RippleLink] = []
        self.ends: list[RippleEnd] = []
        self.unreached = 0
        self.unseen = 0
        self._watch = watch
        self._root, self._direction = root, direction
        self._places = Places(model)
        self._parameters = {id(p) for p in model.parameters()}
        self._plans: dict[Any, Any] = {}
        self._resting = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run one call and note what it made of the change."""
        kwargs = kwargs or {}
        try:
            plan = self._plans[func]
        except KeyError:
            plan = self._plans[func] = _plan(func)
        if plan is None:
            return func(*args, **kwargs)
        self._watch.before_call(func, args, kwargs)
        if self._resting:
            return func(*args, **kwargs)
        if not isinstance(plan, str):
            with self:
                return plan(*args, **kwargs)
        return self._run(plan, func, args, kwargs)

    def _run(self, name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        inputs = _tensors(args, kwargs)
        arriving = self._change(inputs)
        if not arriving:  # nothing to difference; a call without tangents cannot lack a formula
            out = func(*args, **kwargs)
            if name not in _BACKWARDS:
                self._note(name, inputs, arriving, out, "forward", sys._getframe(2))
            return out
        random = RandomState()
        method: Method = "forward"
        try:
            out = func(*args, **kwargs)
        except (NotImplementedError, RuntimeError) as error:
            if not _lacks_forward(error):
                raise
            writes = name in _BACKWARDS or (name.endswith("_") and not name.endswith("__"))
            if writes or transforms.active():
                raise NoForwardError(f"`{name}`: {error}") from error
            random.restore()
            out, method = local_difference.call(
                func, args, kwargs, self._root, self._direction, plain_kernels=True
            )
        if torch.is_autocast_enabled(self._root.device.type) and not transforms.active():
            out = _matched(out)
        self._note(name, inputs, arriving, out, method, sys._getframe(2))
        return out

    def _apply(self, cls: Any, args: Any, kwargs: Any) -> Any:
        """One call of a `torch.autograd.Function`."""

        def original(*args: Any, **kwargs: Any) -> Any:
            return _ORIGINAL.__get__(None, cls)(*args, **kwargs)

        if self._resting:
            return original(*args, **kwargs)
        self._resting = True  # what runs inside, and our own calls, are no ops of the user's
        method: Method = "forward"
        try:
            inputs = _tensors(args, kwargs)
            arriving = self._change(inputs)
            if cls.jvp is not torch.autograd.Function.jvp or transforms.active():
                out = original(*args, **kwargs)
            else:
                # Its forward may also read the parameter from outside its arguments.
                out, method = local_difference.call(
                    original, args, kwargs, self._root, self._direction
                )
            self._note(cls.__name__, inputs, arriving, out, method, sys._getframe(2))
        finally:
            self._resting = False
        return out

    @contextlib.contextmanager
    def custom_functions(self) -> Iterator[None]:
        """Also see `torch.autograd.Function.apply`, which no function mode sees."""
        mine = threading.get_ident()
        mode = self

        @classmethod
        def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != mine:
                return before.__get__(None, cls)(*args, **kwargs)
            return mode._apply(cls, args, kwargs)

        with _LOCK:
            before = torch.autograd.Function.__dict__["apply"]
            torch.autograd.Function.apply = apply  # type: ignore[method-assign]
        try:
            yield
        finally:
            with _LOCK:
                torch.autograd.Function.apply = before  # type: ignore[method-assign]

    def _note(
        self, name: str, inputs: list[Tensor], arriving: float, out: Any, method: Method, frame: Any
    ) -> None:
        outputs = [out] if isinstance(out, Tensor) else _tensors((out,), {})
        if out is None and inputs:
            outputs = inputs[:1]
        floats = [t for t in outputs if t.is_floating_point() or t.is_complex()]
        if arriving and name in _ENDS:
            place = self._places.here(frame, call_step.__code__)
            self.ends.append(RippleEnd(name, place.module, place.source))
        if not floats:
            return
        leaving = self._change(floats)
        if not leaving and (not arriving or name in _ENDS):
            self.unreached += 1
            return
        place = self._places.here(frame, call_step.__code__)
        gain = leaving / arriving if arriving else math.nan
        kind = self._kind(name, place, inputs)
        shape = tuple(floats[0].shape)
        self.links.append(
            RippleLink(name, place.module, place.source, leaving, gain, kind, shape, method)
        )

    def _kind(self, name: str, place: Place, inputs: list[Tensor]) -> Kind:
        kind = kinds.kind_of(name, place.module_type)
        data = [t for t in inputs if id(t) not in self._parameters]
        if kind == "other" and name in kinds.ADDS and len(data) > 1:
            if data[0].shape == data[1].shape and data[0].dim() and len(data) == len(inputs):
                return "residual"
        if kind == "other" and name in kinds.MULS and len(data) < len(inputs):
            return "weight"
        return kind

    def _change(self, tensors: list[Tensor]) -> float:
        norms = []
        for tensor in tensors:
            if not (tensor.is_floating_point() or tensor.is_complex()):
                continue
            try:
                tangent = _tangent(tensor)
                if tangent is not None:
                    norms.append(norm_and_nonfinite(dense(tangent))[0])
            except Exception:  # a tensor whose numbers cannot be read (inside a transform)
                self.unseen += 1
        return combined(norms)


def _tangent(tensor: Tensor) -> Tensor | None:
    if transforms.active():
        functorch = cast(Any, torch._C)._functorch
        with torch._C._DisableFuncTorch():
            while functorch.is_batchedtensor(tensor):
                tensor = functorch.get_unwrapped(tensor)
            return forward_ad.unpack_dual(tensor).tangent
    return forward_ad.unpack_dual(tensor).tangent


def _matched(value: Any) -> Any:
    """Under autocast a tangent may come out wider than its tensor, and the next op refuses it."""
    if isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex()):
        primal, tangent = forward_ad.unpack_dual(value)
        if tangent is not None and tangent.dtype != value.dtype:
            return forward_ad.make_dual(primal, tangent.to(value.dtype))
    elif type(value) in (list, tuple):
        return type(value)(map(_matched, value))
    return value


def _lacks_forward(error: Exception) -> bool:
    text = str(error)
    return "forward AD" in text or "forward mode AD" in text or "forward-mode" in text
