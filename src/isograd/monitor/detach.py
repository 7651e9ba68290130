"""A twin in which `detach` does nothing while the model runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

DETACHING = ("detach", "detach_", "data")
_DATA = Tensor.data.__get__  # type: ignore[attr-defined]


class _Attached(TorchFunctionMode):
    """Hands on what would be detached, inside of one module."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run the call, or skip it."""
        detaches = func in (Tensor.detach, Tensor.detach_, torch.detach, _DATA)
        if self.inside and detaches and args and isinstance(args[0], Tensor):
            return args[0]
        return func(*args, **(kwargs or {}))


@contextmanager
def attached(twin: nn.Module, _: torch.optim.Optimizer) -> Iterator[None]:
    """Gradients flow through every `detach` and `.data` of the model's forward pass."""
    mode = _Attached()

    def enter(*_: Any) -> None:
        mode.inside += 1

    def leave(*_: Any) -> None:
        mode.inside -= 1

    before = twin.register_forward_pre_hook(enter)
    after = twin.register_forward_hook(leave, always_call=True)
    try:
        with mode:
            yield
    finally:
        before.remove()
        after.remove()
