"""Hearing of every custom autograd function that the user's code applies.

`torch.autograd.Function.apply` is replaced once, while anybody listens, and put back when the
last one leaves.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch


class Listener(Protocol):
    """Who wants to hear."""

    def applies(self, function: Any, args: Any) -> Any:
        """A function is about to be applied.

        Returns:
            Anything but None to be told how it ends.
        """
        ...

    def leave(self, token: Any, out: Any, fine: bool) -> None:
        """It returned `out`, or raised."""
        ...


_listening: list[Listener] = []
_originals: dict[str, Any] = {}


def listen(listener: Listener) -> None:
    """Tell a listener from here on."""
    home: Any = torch.autograd.Function
    if not _listening and "apply" not in _originals:
        _originals["apply"] = home.__dict__["apply"]
        home.apply = classmethod(_apply)
    _listening.append(listener)


def leave(listener: Listener) -> None:
    """Tell it no more."""
    if listener in _listening:
        _listening.remove(listener)
    home: Any = torch.autograd.Function
    if not _listening and getattr(home.__dict__["apply"], "__func__", None) is _apply:
        home.apply = _originals.pop("apply")


def _apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
    original = _originals["apply"].__func__
    if not _listening or kwargs or torch.compiler.is_compiling():
        return original(cls, *args, **kwargs)
    told = [(one, token) for one in _listening if (token := one.applies(cls, args)) is not None]
    out, fine = None, False
    try:
        out = original(cls, *args)
        fine = True
    finally:
        for one, token in reversed(told):
            one.leave(token, out, fine)
    return out
