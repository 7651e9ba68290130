"""A hook on a module that does not travel with copies and pickles of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any


class Passing:
    """Calls something as long as it is where it was put.

    Args:
        action: Called with what a hook is called with; it must return None.
    """

    def __init__(self, action: Callable[..., None]) -> None:
        self._action = action

    def __call__(self, *given: Any) -> None:
        """Run the action."""
        self._action(*given)

    def __reduce__(self) -> Any:
        """A hook that returns None whatever it is called with, from the standard library."""
        return getattr, (nullcontext(), "__exit__")
