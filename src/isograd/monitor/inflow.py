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


class Inflow:
    """Follows one model.

    Args:
        model: Whose inputs are looked at.

    Attributes:
        active: Look now; set to False to save time.
    """

    def __init__(self, model: nn.Module) -> None:
        self.active = True
        self._model = model
        self._input = self._target = 0.0
        self._handle: Any = None
        self._wrapped: dict[str, tuple[Any, Any]] = {}

    def open(self) -> None:
        """Put hook and wrappers on."""
        self._handle = register_module_forward_pre_hook(self._enter)
        for name in _LOSSES:
            original = getattr(F, name)
            wrapped = self._watched(original)
            self._wrapped[name] = (original, wrapped)
            setattr(F, name, wrapped)

    def close(self) -> None:
        """Take them off; a wrapper that somebody wrapped again stays inside theirs."""
        self.active = False
        self._handle.remove()
        for name, (original, wrapped) in self._wrapped.items():
            if getattr(F, name) is wrapped:
                setattr(F, name, original)

    def taken(self) -> tuple[float, float]:
        """Largest RMS of inputs and of targets since the last call; 0.0 without one."""
        out = self._input, self._target
        self._input = self._target = 0.0
        return out

    def _enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if module is self._model and self.active and not torch.compiler.is_compiling():
            self._input = max(self._input, largest([t for t in args if constant(t)]))

    def _watched(self, original: Callable[..., Tensor]) -> Callable[..., Tensor]:
        @functools.wraps(original)
        def loss(*args: Any, **kwargs: Any) -> Tensor:
            if self.active and not torch.compiler.is_compiling():
                given = [t for t in (*args, *kwargs.values()) if constant(t)]
                self._target = max(self._target, largest(given))
            return original(*args, **kwargs)

        return loss
