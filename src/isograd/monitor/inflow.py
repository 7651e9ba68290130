"""Size of what flows into a model in somebody else's loop: inputs, and regression targets.

A global forward hook that looks at one module only, and a thin wrapper around the four regression
losses of torch, are put on while a watch is open. Nothing stays on the model, so it can be
copied and saved meanwhile.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from isograd.monitor.flow import constant, largest

_LOSSES = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")


# One wrapper for all that watch: put on with the first and taken off with the last.
_watching: list[Inflow] = []
_originals: dict[str, Any] = {}
_wrappers: dict[str, Any] = {}


class Inflow:
    """Follows one model.

    Args:
        model: Whose inputs are looked at.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._input = self._target = 0.0
        self._handle: Any = None

    def open(self) -> None:
        """Put hook and wrappers on."""
        self._handle = register_module_forward_pre_hook(self._enter)
        if not _watching:
            for name in _LOSSES:
                _originals[name] = getattr(F, name)
                _wrappers[name] = _watched(_originals[name])
                setattr(F, name, _wrappers[name])
        _watching.append(self)

    def close(self) -> None:
        """Take them off; a wrapper that somebody wrapped again stays inside theirs."""
        self._handle.remove()
        if self in _watching:
            _watching.remove(self)
        if not _watching:
            for name in _LOSSES:
                if getattr(F, name) is _wrappers.get(name):
                    setattr(F, name, _originals[name])

    def taken(self) -> tuple[float, float]:
        """Largest RMS of inputs and of targets since the last call; 0.0 without one."""
        out = self._input, self._target
        self._input = self._target = 0.0
        return out

    def saw_target(self, size: float) -> None:
        """Tell it the RMS of a target."""
        self._target = max(self._target, size)

    def _enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if module is self._model and not torch.compiler.is_compiling():
            self._input = max(self._input, largest([t for t in args if constant(t)]))


def _watched(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @functools.wraps(original)
    def loss(*args: Any, **kwargs: Any) -> Tensor:
        if _watching and not torch.compiler.is_compiling():
            size = largest([t for t in (*args, *kwargs.values()) if constant(t)])
            for inflow in _watching:
                inflow.saw_target(size)
        return original(*args, **kwargs)

    return loss
