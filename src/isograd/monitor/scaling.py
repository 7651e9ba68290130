"""What gradient scalers and clipping do, seen from outside: they run before the optimizer does.

The methods of torch's gradient scaler and the functions that clip are replaced while anybody
watches, and put back when the last one leaves. `clip_grad_norm_` itself is left alone, because a
program may have imported it before; what it calls to multiply the gradients is seen.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import utils
from torch.nn.utils import clip_grad

from isograd.monitor.norms import stacked

_SCALER = torch.amp.GradScaler

_watching: list[Scaling] = []
# Where something was replaced, its name, what was there and what is there now.
_replaced: list[tuple[Any, str, Any, Any]] = []


@dataclass(frozen=True, slots=True)
class Clip:
    """One call that clipped gradients.

    Attributes:
        tensors: Whose gradients.
        limit: To which norm, or 0.0 if each entry was clipped on its own.
        total: Norm of all of them before.
        norms: Of each gradient before, if each entry was clipped on its own.
    """

    tensors: list[Tensor]
    limit: float = 0.0
    total: Tensor | float = 0.0
    norms: Tensor | None = None

    def kept(self) -> float:
        """What the gradients were multiplied by; reads `total` from its device."""
        return min(1.0, self.limit / (float(self.total) + 1e-6))


class Scaling:
    """Follows one model's step.

    Args:
        parameters: Clipping of other tensors is none of its business.
        broke: Told an error of our own.

    Attributes:
        scale: The factor on the loss now, or NaN.
        skipped: Steps that a scaler has skipped; on the device where the scaler is.
        clips: Clipping in this step.
        own: Ids of the parameters.
        wanted: True if clipping in this step is worth noting.
    """

    def __init__(self, parameters: list[Tensor], broke: Callable[[Exception], None]) -> None:
        self.renewed(parameters)
        self.broke = broke
        self._unscaled: tuple[weakref.ref[Tensor], Tensor, Any] | None = None
        self.scale = float("nan")
        self.skipped: Tensor | int = 0
        self.clips: list[Clip] = []
        self.wanted = True

    def renewed(self, parameters: list[Tensor]) -> None:
        """The model has these from now on."""
        self.own = {id(p) for p in parameters}

    def open(self) -> None:
        """Begin to listen."""
        if not _watching:
            _replace_all()
        _watching.append(self)

    def close(self) -> None:
        """Stop."""
        self._unscaled = None
        self.clips = []
        if self in _watching:
            _watching.remove(self)
        if not _watching:
            _restore()

    @property
    def scales(self) -> bool:
        """True if a scaled loss was seen."""
        return self._unscaled is not None

    def true_loss(self, root: Any) -> Any:
        """The loss behind a scaled one; any other tensor as it is."""
        if self._unscaled is None:
            return root
        scaled, loss, _ = self._unscaled
        return loss if scaled() is root else root

    def factor(self, root: Any) -> float:
        """By what a loss was scaled; waits for the device."""
        if self._unscaled is None or self._unscaled[0]() is not root:
            return 1.0
        return float(self._unscaled[2])

    def stepped(self) -> None:
        """The step is over."""
        if self.clips:
            self.clips = []

    def saw_scale(self, scaler: Any, loss: Any, out: Any) -> None:
        """A loss is scaled."""
        if isinstance(loss, Tensor) and isinstance(out, Tensor) and out is not loss:
            self._unscaled = weakref.ref(out), loss.detach(), scaler._scale

    def saw_update(self, factor: float, skipped: Tensor | bool) -> None:
        """The factor is renewed."""
        self.scale = factor
        if isinstance(skipped, Tensor):
            self.skipped = self.skipped + skipped
        elif skipped:
            self.skipped = self.skipped + 1
            self.clips = []  # that step was not taken

    def cares(self, tensors: list[Tensor]) -> bool:
        """True if they are of this model."""
        return bool(tensors) and id(tensors[0]) in self.own


def found(optimizer: Any) -> Tensor | bool:
    """Whether this optimizer, which unscales by itself, is about to leave its step out."""
    told = getattr(optimizer, "found_inf", None)
    if not isinstance(told, Tensor):
        return False
    return bool(told) if told.device.type == "cpu" else told.detach().clone()


def _replace(home: Any, name: str, make: Callable[[Any], Any]) -> None:
    original = getattr(home, name, None)
    if original is not None:
        wrapper = functools.wraps(original)(make(original))
        _replaced.append((home, name, original, wrapper))
        setattr(home, name, wrapper)


def _replace_all() -> None:
    _replace(_SCALER, "scale", _scaling)
    _replace(_SCALER, "update", _updating)
    _replace(clip_grad, "_clip_grads_with_norm_", _clipping)
    for home in (utils, clip_grad):
        _replace(home, "clip_grads_with_norm_", _clipping)
        _replace(home, "clip_grad_value_", _clamping)


def _restore() -> None:
    for home, name, original, wrapper in reversed(_replaced):
        if getattr(home, name) is wrapper:
            setattr(home, name, original)
    _replaced.clear()


def _tell(action: Callable[[Scaling], None]) -> None:
    """Do something with all that watch; their errors are none of the training's."""
    for watcher in tuple(_watching):
        try:
            action(watcher)
        except Exception as error:
            watcher.broke(error)


def _scaling(original: Any) -> Any:
    def scale(self: Any, outputs: Any) -> Any:
        out = original(self, outputs)
        _tell(lambda watcher: watcher.saw_scale(self, outputs, out))
        return out

    return scale


def _updating(original: Any) -> Any:
    def update(self: Any, *args: Any, **kwargs: Any) -> Any:
        told: list[Tensor | bool] = []
        _tell(lambda _: told.append(_refused(self)))
        out = original(self, *args, **kwargs)
        scale = getattr(self, "_scale", None)
        on_host = isinstance(scale, Tensor) and scale.device.type == "cpu"
        factor = float(scale) if on_host and scale is not None else float("nan")
        _tell(lambda watcher: watcher.saw_update(factor, told[0] if told else False))
        return out

    return update


def _refused(scaler: Any) -> Tensor | bool:
    """Whether some optimizer's step was left out since the last update."""
    states = getattr(scaler, "_per_optimizer_states", {}).values()  # none if it is disabled
    flags = [flag for state in states for flag in state["found_inf_per_device"].values()]
    if all(flag.device.type == "cpu" for flag in flags):
        return any(bool(flag) for flag in flags)
    if len({flag.device for flag in flags}) == 1:
        return (torch.stack(flags).sum() > 0).int()
    return False


def _clipping(original: Any) -> Any:
    def clip(parameters: Any, max_norm: Any, total_norm: Any, *args: Any, **kwargs: Any) -> Any:
        if not any(watcher.wanted for watcher in _watching):
            return original(parameters, max_norm, total_norm, *args, **kwargs)
        given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        out = original(given, max_norm, total_norm, *args, **kwargs)

        def note(watcher: Scaling) -> None:
            if watcher.wanted and watcher.cares(given):
                watcher.clips.append(Clip(given, float(max_norm), total_norm))

        _tell(note)
        return out

    return clip


def _clamping(original: Any) -> Any:
    def clip_grad_value_(parameters: Any, *args: Any, **kwargs: Any) -> Any:
        if not any(watcher.wanted for watcher in _watching):
            return original(parameters, *args, **kwargs)
        given = [parameters] if isinstance(parameters, Tensor) else list(parameters)

        def note(watcher: Scaling) -> None:
            if watcher.wanted and watcher.cares(given):
                watcher.clips.append(_entrywise(given))

        _tell(note)
        return original(given, *args, **kwargs)

    return clip_grad_value_


def _entrywise(given: list[Tensor]) -> Clip:
    there = [p for p in given if p.grad is not None]
    gradients = [p.grad for p in there if p.grad is not None]
    with torch.no_grad(), torch._C.DisableTorchFunction():
        return Clip(there, norms=stacked(gradients) if gradients else torch.zeros(0))
