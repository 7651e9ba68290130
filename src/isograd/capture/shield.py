"""In somebody else's training our own faults must not reach him."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Shield:
    """Keeps the first error of our own hooks and lets none out.

    Attributes:
        fault: The first error, or None.
    """

    def __init__(self) -> None:
        self.fault: Exception | None = None

    def __call__(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        """The hook, silent and without effect from its first error on."""

        def shielded(*args: Any, **kwargs: Any) -> None:
            if self.fault is None:
                try:
                    hook(*args, **kwargs)
                except Exception as error:
                    self.fault = error

        return shielded

    def check(self) -> None:
        """Raise what was kept, where it is safe.

        Raises:
            Exception: The fault, if there was one.
        """
        if self.fault is not None:
            raise self.fault


def open_to_all(hook: Callable[..., Any]) -> Callable[..., Any]:
    """No shield: errors are loud."""
    return hook
