"""Hearing of every call of a module while the user's code runs.

`nn.Module.__call__` is replaced once, while anybody listens, and put back when the last one
leaves, in whatever order they leave.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import nn


class Listener(Protocol):
    """Who wants to hear."""

    def enter(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        """A module is about to be called.

        Returns:
            Anything but None to be told how it ends.
        """
        ...

    def leave(self, token: Any, out: Any, fine: bool) -> None:
        """It returned `out`, or raised."""
        ...


_listening: list[Listener] = []
_module_call: Any = nn.Module.__call__


def listen(listener: Listener) -> None:
    """Tell a listener from here on."""
    global _module_call
    if not _listening and nn.Module.__call__ is not _called:
        _module_call = nn.Module.__call__
        nn.Module.__call__ = _called  # type: ignore[method-assign]
    _listening.append(listener)


def leave(listener: Listener) -> None:
    """Tell it no more."""
    if listener in _listening:
        _listening.remove(listener)
    if not _listening and nn.Module.__call__ is _called:
        nn.Module.__call__ = _module_call  # type: ignore[method-assign]


def _called(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    if not _listening or torch.compiler.is_compiling():
        return _module_call(self, *args, **kwargs)
    told = [
        (one, token) for one in _listening if (token := one.enter(self, args, kwargs)) is not None
    ]
    if not told:
        return _module_call(self, *args, **kwargs)
    out, fine = None, False
    try:
        out = _module_call(self, *args, **kwargs)
        fine = True
    finally:
        for listener, token in reversed(told):
            listener.leave(token, out, fine)
    return out
