"""A twin in which hand-written backward passes are left to autograd.

Where an `autograd.Function` computes its forward pass with torch's own calls, autograd knows the
derivative. If the training learns with that one, the hand-written one is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class _Context:
    """Stands in for `ctx`: takes everything and keeps it."""

    def __init__(self, needs: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs
        self.saved_tensors: tuple[Any, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep them for whoever asks."""
        self.saved_tensors = tensors

    def save_for_forward(self, *tensors: Any) -> None:
        """Nobody asks."""

    def mark_dirty(self, *tensors: Any) -> None:
        """In-place calls are autograd's to track."""

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Without an effect here."""

    def set_materialize_grads(self, value: bool) -> None:
        """Without an effect here."""


@contextmanager
def torch_backward(_: nn.Module, __: torch.optim.Optimizer) -> Iterator[None]:
    """Every own function is differentiated by autograd, where autograd can."""
    before = torch.autograd.Function.__dict__["apply"]

    @classmethod
    def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
        own = not cls.__module__.startswith("torch.")
        if not own or not torch.is_grad_enabled():
            return before.__get__(None, cls)(*args, **kwargs)
        needs = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        try:
            if cls.setup_context is not torch.autograd.Function.setup_context:
                out = cls.forward(*args, **kwargs)
            else:
                out = cls.forward(_Context(needs), *args, **kwargs)
        except Exception:
            return before.__get__(None, cls)(*args, **kwargs)
        first = out[0] if isinstance(out, tuple) and out else out
        known = isinstance(first, Tensor) and first.requires_grad
        return out if known or not any(needs) else before.__get__(None, cls)(*args, **kwargs)

    torch.autograd.Function.apply = apply  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.autograd.Function.apply = before  # type: ignore[method-assign]
