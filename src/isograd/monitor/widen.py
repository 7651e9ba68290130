"""A twin that computes in float32 where the user's computes in half precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from isograd.monitor.changes import Change, Situation
from isograd.monitor.digits import Digits, digits, exact

_HALF = (torch.float16, torch.bfloat16)
_NAMES = ("float16", "bfloat16")
_CASTS = (Tensor.half, Tensor.bfloat16)


def widened(case: Situation) -> Iterator[Change]:
    """The same training in float32, if it goes badly and computes in half precision somewhere."""
    bad = case.poor or case.failing or bool(case.training.stopped)
    if not bad or case.start is None:
        return
    # Batches are prepared without a gradient, which no op of the graph shows.
    seen = digits(case.model, case.step) if case.step is not None else Digits()
    if seen.half or _halves(case):
        yield Change("float32", _in_float32, detail=seen.half)
    yield from exact(seen)


def _halves(case: Situation) -> bool:
    if any(p.dtype in _HALF for p in case.model.parameters()):
        return True
    ops = case.start.ops if case.start is not None else ()
    return any(op.output is not None and op.output.dtype in _NAMES for op in ops)


class _Wide(TorchFunctionMode):
    """Casts to half precision do nothing, and what is in half precision is read in float32."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run the call on wider numbers."""
        args = tree_map(_wide, args)
        named: dict[str, Any] = tree_map(_wide, kwargs or {})  # type: ignore[assignment]
        if func in _CASTS:
            return args[0].float() if args[0].is_floating_point() else args[0]
        return func(*args, **named)


def _wide(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.dtype in _HALF else value
    return torch.float32 if isinstance(value, torch.dtype) and value in _HALF else value


@contextmanager
def _in_float32(twin: nn.Module, trainer: torch.optim.Optimizer) -> Iterator[None]:
    twin.float()
    for state in trainer.state.values():
        for key, value in state.items():
            state[key] = _wide(value)
    autocast = torch.amp.autocast_mode.autocast
    entering = autocast.__enter__

    def enter(self: Any) -> Any:
        enabled, self._enabled = self._enabled, False
        try:
            return entering(self)
        finally:
            self._enabled = enabled

    autocast.__enter__ = enter  # type: ignore[method-assign]
    try:
        with _Wide():
            yield
    finally:
        autocast.__enter__ = entering  # type: ignore[method-assign]
