"""Seeing every call of `backward` while the user's code runs.

`torch.autograd.backward` is replaced once, while anybody watches, and put back when the last one
leaves, in whatever order they leave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

# Runs a backward pass from a root; told the root, it calls the second argument once.
Around = Callable[[Any, Callable[[], None]], None]

_watchers: list[Around] = []
# Told the root after each pass, instead of the only watcher: one call less around every step.
_ear: Callable[[Any], None] | None = None
_original: Any = torch.autograd.backward


def enter(around: Around) -> None:
    """Run `around` for each backward pass from here on, outside of those that are there."""
    global _original, _ear
    _ear = None
    if not _watchers and torch.autograd.backward is not _backward:
        _original = torch.autograd.backward
        torch.autograd.backward = _backward
    _watchers.append(around)


def leave(around: Around) -> None:
    """Stop that."""
    global _ear
    _ear = None
    if around in _watchers:
        _watchers.remove(around)
    if not _watchers and torch.autograd.backward is _backward:
        torch.autograd.backward = _original


def listen(around: Around, ear: Callable[[Any], None] | None) -> None:
    """Tell the root to `ear` after each pass, if nobody else watches; `around` is not called.

    Args:
        around: Who asks for it.
        ear: Must not raise. None calls `around` again.
    """
    global _ear
    if _watchers == [around]:
        _ear = ear


def crowded() -> bool:
    """True if several watch, so that most passes are another one's."""
    return len(_watchers) > 1


@contextmanager
def observed(before: Callable[[Tensor], None], after: Callable[[Tensor], None]) -> Iterator[None]:
    """Call `before` and `after` around each backward pass inside.

    Args:
        before: Called with the root before the pass.
        after: Called with the root after it. Both only for a single scalar root.
    """

    def around(root: Any, run: Callable[[], None]) -> None:
        single = isinstance(root, Tensor) and root.numel() == 1
        if single:
            before(root)
        run()
        if single:
            after(root)

    enter(around)
    try:
        yield
    finally:
        leave(around)


def _backward(tensors: Any, *args: Any, **kwargs: Any) -> None:
    if _ear is not None:
        ear = _ear
        _original(tensors, *args, **kwargs)
        ear(tensors)
        return

    def run() -> None:
        _original(tensors, *args, **kwargs)

    if len(_watchers) == 1:
        _watchers[0](tensors, run)
        return
    for around in tuple(_watchers):
        run = _bound(around, tensors, run)
    run()


def _bound(around: Around, root: Any, run: Callable[[], None]) -> Callable[[], None]:
    return lambda: around(root, run)
