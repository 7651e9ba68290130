"""Attention with its logits brought to unit spread."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from isograd.capture import kinds


class _Tempered(TorchFunctionMode):
    """Divides the logits of softmaxes by their standard deviation where that is above 1."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self._names = frozenset(names)
        self.cooled: list[float] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one call, cooler."""
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name in self._names and args and isinstance(args[0], Tensor) and args[0].requires_grad:
            with torch._C.DisableTorchFunction():
                if name in kinds.SOFTMAXES:
                    args = (args[0] / self._by(args[0].detach()), *args[1:])
                elif name == "scaled_dot_product_attention" and len(args) > 1:
                    query, key = args[0].detach(), args[1].detach()
                    scale = kwargs.get("scale") or 1 / math.sqrt(query.shape[-1])
                    if query.shape[:-2] == key.shape[:-2]:
                        logits = query.float() @ key.float().transpose(-1, -2) * scale
                        args = (args[0] / self._by(logits), *args[1:])
        return func(*args, **kwargs)

    def _by(self, logits: Tensor) -> float:
        """Standard deviation over the keys of a query, typical over queries; at least 1."""
        finite = logits.float().masked_fill(~(logits > -1e4), float("nan"))  # masked keys
        mean = finite.nanmean(-1, keepdim=True)
        spread = float((finite - mean).square().nanmean().sqrt())
        by = max(1.0, spread) if math.isfinite(spread) else 1.0
        if by > 1:
            self.cooled.append(by)
        return by


@contextmanager
def tempered(names: tuple[str, ...]) -> Iterator[list[float]]:
    """Cool the calls of these names inside.

    Args:
        names: Such as `softmax` or `scaled_dot_product_attention`.

    Yields:
        What logits were divided by, call by call; empty if none was above unit spread.
    """
    mode = _Tempered(names)
    with mode:
        yield mode.cooled
