"""Seeing every call of `backward` while the user's code runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def observed(before: Callable[[Tensor], None], after: Callable[[Tensor], None]) -> Iterator[None]:
    """Call `before` and `after` around each backward pass inside.

    Args:
        before: Called with the root before the pass.
        after: Called with the root after it. Both only for a single scalar root.
    """
    original = torch.autograd.backward

    def backward(tensors: Any, *args: Any, **kwargs: Any) -> None:
        single = isinstance(tensors, Tensor) and tensors.numel() == 1
        if single:
            before(tensors)
        original(tensors, *args, **kwargs)
        if single:
            after(tensors)

    torch.autograd.backward = backward
    try:
        yield
    finally:
        torch.autograd.backward = original
