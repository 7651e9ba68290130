"""A mode for torch functions that lies below all others, and can be taken off at any moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch._C import _len_torch_function_stack
from torch.overrides import TorchFunctionMode, _pop_mode, _push_mode


class LowestMode(TorchFunctionMode):
    """Whoever enters a mode on top of it leaves it in order, whatever this one does meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self._in_stack = False
        self._handled = 0

    @contextmanager
    def handling(self) -> Iterator[None]:
        """A call is being handled: torch has taken the mode off and will put it back."""
        self._handled += 1
        try:
            yield
        finally:
            self._handled -= 1

    def lay(self) -> None:
        """Put it on, below all others."""
        if not self._in_stack and not self._handled:
            self._in_stack = True
            others = self._others()
            for mode in (self, *others):
                _push_mode(mode)

    def lift(self) -> None:
        """Take it off."""
        if self._in_stack and not self._handled:
            self._in_stack = False
            for mode in self._others():
                _push_mode(mode)

    def _others(self) -> list[Any]:
        """Take all modes off; those that are not ours, the lowest first."""
        modes = [_pop_mode() for _ in range(_len_torch_function_stack())]
        return [mode for mode in reversed(modes) if mode is not self]
