"""Taking a mode for torch functions off the stack, wherever it lies there."""

from __future__ import annotations

import weakref
from typing import Any

from torch._C import _len_torch_function_stack
from torch.overrides import _pop_mode, _push_mode

# Taken off inside of a call that they were handling: torch puts them back when it returns.
_gone: weakref.WeakSet[Any] = weakref.WeakSet()


def remove(mode: Any) -> None:
    """Take a mode off; what was entered on top of it stays, in its order.

    Inside of a call that it handles it cannot be taken off; `sweep` does so later.
    """
    if not _without({mode}):
        _gone.add(mode)


def entered(mode: Any) -> None:
    """A mode is on the stack again, and wanted."""
    _gone.discard(mode)


def sweep() -> None:
    """Take off what has come back since; called outside of all handled calls."""
    if _gone:
        _without(set(_gone))
        _gone.clear()


def _without(unwanted: set[Any]) -> bool:
    modes = [_pop_mode() for _ in range(_len_torch_function_stack())]
    for mode in reversed(modes):
        if mode not in unwanted:
            _push_mode(mode)
    return any(mode in unwanted for mode in modes)
