"""What flows into a copy at each step: size of its inputs and of the targets of its loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from isograd.capture import kinds

_DIFFERENCES = frozenset(("sub", "__sub__", "__rsub__", "rsub"))


class Flow(TorchFunctionMode):
    """Follows one model; entered around its steps.

    Args:
        model: Hooked while the mode is open.

    Attributes:
        labels_vary: True if the targets of loss functions were seen to differ.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = model
        self._input = self._target = 0.0
        self._inside = 0
        self._labels: tuple[float, float] | None = None
        self.labels_vary = False

    @contextmanager
    def following(self) -> Iterator[None]:
        """Hooks on the model, and the mode, while the body runs."""
        before = self._model.register_forward_pre_hook(self._enter, with_kwargs=True)
        after = self._model.register_forward_hook(self._leave, always_call=True)
        try:
            with self:
                yield
        finally:
            before.remove()
            after.remove()

    def stepped(self) -> tuple[float, float]:
        """Close one step: largest RMS of its inputs and of its targets, 0.0 without one."""
        out = self._input, self._target
        self._input = self._target = 0.0
        self._inside = 0
        return out

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Look at the target of a loss function, then run the call."""
        name = getattr(func, "__name__", "")
        if not self._inside and (kinds.kind_of(name, "") == "loss" or name in _DIFFERENCES):
            given = (*args, *(kwargs or {}).values())
            if any(isinstance(t, Tensor) and t.requires_grad for t in given):
                self._target = max(self._target, largest([t for t in given if constant(t)]))
                self._looked([t for t in given if isinstance(t, Tensor)])
        return func(*args, **(kwargs or {}))

    def _looked(self, given: Sequence[Tensor]) -> None:
        """Note whether labels differ from those seen before; nothing more once they do."""
        labels = [t for t in given[1:] if not t.requires_grad and t.numel() and not t.is_complex()]
        if self.labels_vary or not labels:
            return
        with torch._C.DisableTorchFunction():
            low, high = (float(v) for v in torch.aminmax(labels[0].detach()))
        known = self._labels or (low, high)
        self._labels = low, high
        self.labels_vary = low != high or known != (low, high)

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._inside += 1
        given = [t for t in (*args, *kwargs.values()) if constant(t)]
        self._input = max(self._input, largest(given))

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._inside -= 1


def constant(value: Any) -> bool:
    """True for a floating-point tensor of several entries that needs no gradient."""
    return (
        isinstance(value, Tensor)
        and not value.requires_grad
        and value.is_floating_point()
        and value.numel() > 1
    )


def largest(tensors: Sequence[Tensor]) -> float:
    """Largest RMS of some tensors, infinite if one holds NaN or infinity; 0.0 without one."""
    with torch._C.DisableTorchFunction():
        sizes = [float(t.detach().double().square().mean()) ** 0.5 for t in tensors]
    return max((s if math.isfinite(s) else math.inf for s in sizes), default=0.0)
