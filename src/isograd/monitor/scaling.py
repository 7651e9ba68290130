"""What gradient scalers and clipping do, seen from outside: they run before the optimizer does.

The class methods of torch's gradient scaler and the function that clips by norm are replaced
while anybody watches, and put back when the last one leaves.
"""

from __future__ import annotations

import functools
import weakref
from typing import Any

import torch
from torch import Tensor

_SCALER = torch.amp.GradScaler
_METHODS = ("scale", "update")
_CLIP = "clip_grad_norm_"
_HOMES = (torch.nn.utils, torch.nn.utils.clip_grad)

_watching: list[Scaling] = []
_originals: dict[str, Any] = {}
_wrappers: dict[str, Any] = {}


class Scaling:
    """Follows one model's step.

    Args:
        parameters: Clipping of other tensors is none of its business.

    Attributes:
        scale: The factor on the loss now, or NaN.
        skipped: Steps that a scaler has skipped.
        clipped: Norm before clipping, told in this step; None without.
    """

    def __init__(self, parameters: list[Tensor]) -> None:
        self._own = {id(p) for p in parameters}
        self._unscaled: Any = None
        self.scale = float("nan")
        self.skipped = 0
        self.clipped: Tensor | None = None
        self._stepped = False
        self._scaled = False

    def open(self) -> None:
        """Begin to listen."""
        if not _watching:
            _patch()
        _watching.append(self)

    def close(self) -> None:
        """Stop."""
        if self in _watching:
            _watching.remove(self)
        if not _watching:
            _restore()

    def true_loss(self, root: Any) -> Any:
        """The loss behind a scaled one; any other tensor as it is."""
        if self._unscaled is None:
            return root
        scaled, loss = self._unscaled
        return loss if scaled() is root else root

    def stepped(self) -> None:
        """The optimizer has stepped."""
        self._stepped = True
        self.clipped = None

    def saw_scale(self, scaler: Any, loss: Any, out: Any) -> None:
        """A loss is scaled."""
        if isinstance(loss, Tensor) and isinstance(out, Tensor) and out is not loss:
            self._unscaled = weakref.ref(out), loss.detach()
            self._scaled = True

    def saw_update(self, scaler: Any, factor: float) -> None:
        """The factor is renewed: a step without the optimizer's was skipped."""
        if self._scaled and not self._stepped:
            self.skipped += 1
            self.clipped = None
        self.scale = factor
        self._stepped = self._scaled = False

    def saw_clip(self, tensors: list[Tensor], total: Tensor) -> None:
        """Gradients were clipped; `total` is their norm before."""
        if tensors and id(tensors[0]) in self._own:
            self.clipped = total.detach()


def _patch() -> None:
    for name in _METHODS:
        _originals[name] = getattr(_SCALER, name)
        _wrappers[name] = _WRAP[name](_originals[name])
        setattr(_SCALER, name, _wrappers[name])
    _originals[_CLIP] = torch.nn.utils.clip_grad_norm_
    _wrappers[_CLIP] = _clipping(_originals[_CLIP])
    for home in _HOMES:
        setattr(home, _CLIP, _wrappers[_CLIP])


def _restore() -> None:
    for name in _METHODS:
        if getattr(_SCALER, name) is _wrappers.get(name):
            setattr(_SCALER, name, _originals[name])
    for home in _HOMES:
        if getattr(home, _CLIP) is _wrappers.get(_CLIP):
            setattr(home, _CLIP, _originals[_CLIP])


def _scaling(original: Any) -> Any:
    @functools.wraps(original)
    def scale(self: Any, outputs: Any) -> Any:
        out = original(self, outputs)
        for watcher in _watching:
            watcher.saw_scale(self, outputs, out)
        return out

    return scale


def _updating(original: Any) -> Any:
    @functools.wraps(original)
    def update(self: Any, *args: Any, **kwargs: Any) -> Any:
        out = original(self, *args, **kwargs)
        scale = getattr(self, "_scale", None)
        on_host = isinstance(scale, Tensor) and scale.device.type == "cpu"
        factor = float(scale) if on_host and scale is not None else float("nan")
        for watcher in _watching:
            watcher.saw_update(self, factor)
        return out

    return update


def _clipping(original: Any) -> Any:
    @functools.wraps(original)
    def clip_grad_norm_(parameters: Any, *args: Any, **kwargs: Any) -> Any:
        given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        total = original(given, *args, **kwargs)
        for watcher in _watching:
            watcher.saw_clip(given, total)
        return total

    return clip_grad_norm_


_WRAP = {"scale": _scaling, "update": _updating}
