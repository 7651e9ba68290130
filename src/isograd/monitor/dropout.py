"""A twin without its strong dropout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

# Rates up to a half are in use everywhere (Srivastava et al., 2014).
STRONG = 0.75


class _Weaker(TorchFunctionMode):
    """Skips calls of dropout at a rate above `STRONG`."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run the call, or skip it."""
        kwargs = kwargs or {}
        if func in _CALLS and rate(args, kwargs) > STRONG:
            return args[0] if args else kwargs["input"]
        return func(*args, **kwargs)


_CALLS = (
    F.dropout,
    F.dropout1d,
    F.dropout2d,
    F.dropout3d,
    F.alpha_dropout,
    F.feature_alpha_dropout,
    torch.dropout,
)


def rate(args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
    """Probability that a call of dropout is given."""
    value = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
    return float(value) if isinstance(value, int | float) else 0.0


@contextmanager
def without_dropout(twin: nn.Module, _: torch.optim.Optimizer) -> Iterator[None]:
    """Dropout above `STRONG` does nothing."""
    with _Weaker():
        yield
