"""What flows into a model in somebody else's loop: inputs, and regression targets.

A hook on the model itself and a thin wrapper around the four regression losses of torch remember
what was given to them in this step; it is only looked at when its size is asked for. A copy or a
pickle of the model that is made meanwhile carries a hook that does nothing and needs no isograd.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isograd.capture.passing import Passing
from isograd.monitor.flow import constant, largest

_LOSSES = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
# Calls of one step whose arguments are remembered: accumulation and pairs of views.
_CALLS = 8

# One wrapper for all that watch: put on with the first and taken off with the last.
_watching: list[Inflow] = []
_originals: dict[str, Any] = {}
_wrappers: dict[str, Any] = {}


class Inflow:
    """Follows one model.

    Args:
        model: Whose inputs are looked at.
        broke: Told an error of our own.

    Attributes:
        calls: Positional and named arguments of the model's calls in this step.
    """

    def __init__(
        self, model: nn.Module, broke: Callable[[Exception], None] = lambda error: None
    ) -> None:
        self.broke = broke
        self.calls: list[tuple[Any, Any]] = []
        self._model = model
        self._targets: list[Tensor] = []
        self._last = (0.0, 0.0)
        self._handle: Any = None
        self._given_up = False

    def open(self) -> None:
        """Put hook and wrappers on."""
        self.resume()
        if not _watching:
            for name in _LOSSES:
                _originals[name] = getattr(F, name)
                _wrappers[name] = _watched(_originals[name])
                setattr(F, name, _wrappers[name])
        _watching.append(self)

    def close(self) -> None:
        """Take them off; a wrapper that somebody wrapped again stays inside theirs."""
        self.pause()
        if self in _watching:
            _watching.remove(self)
        if not _watching:
            for name in _LOSSES:
                if getattr(F, name) is _wrappers.get(name):
                    setattr(F, name, _originals[name])

    def pause(self) -> None:
        """Take the hook off for a while: it makes a tiny net's call slower."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    @property
    def resting(self) -> bool:
        """True while nothing is remembered."""
        return self._handle is None and not self._given_up

    def give_up(self) -> None:
        """Take it off for ever: it would be compiled with the model."""
        self._given_up = True
        self.pause()

    def resume(self) -> None:
        """Put it on again."""
        if self._handle is None and not self._given_up:
            hook = Passing(self._safely_called)
            self._handle = self._model.register_forward_pre_hook(hook, with_kwargs=True)

    def _safely_called(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        try:
            self._called(module, args, kwargs)
        except Exception as error:
            self.broke(error)

    def _called(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if len(self.calls) < _CALLS and not torch.compiler.is_compiling():
            self.calls.append((args, kwargs))

    def taken(self, look: bool = True) -> tuple[float, float]:
        """Largest RMS of inputs and of targets since the last call; 0.0 without one.

        Args:
            look: False to forget what was given and repeat the latest sizes.
        """
        if look:
            given = [v for args, kwargs in self.calls for v in (*args, *kwargs.values())]
            inputs = largest([t for t in given if constant(t)])
            self._last = inputs, largest(self._targets)
        self.calls.clear()
        self._targets.clear()
        return self._last

    def saw_targets(self, given: list[Tensor]) -> None:
        """Tell it what a loss function compares with."""
        if len(self._targets) < _CALLS:
            self._targets += given


def _watched(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @functools.wraps(original)
    def loss(*args: Any, **kwargs: Any) -> Tensor:
        if _watching and not torch.compiler.is_compiling():
            for inflow in tuple(_watching):
                if inflow.resting:
                    continue
                try:
                    inflow.saw_targets([t for t in (*args, *kwargs.values()) if constant(t)])
                except Exception as error:
                    inflow.broke(error)
        return original(*args, **kwargs)

    return loss
