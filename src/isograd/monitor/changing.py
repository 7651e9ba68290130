"""What calls of a model change in it: counters, buffers.

The first calls are looked at whole; after that only what was seen to change is noted.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# Calls that are looked at whole.
_LEARNING = 3
# Buffers that are copied meanwhile; of more only those that were seen to change.
_BYTES = 2**26
_PLAIN = (int, float, str, bool, type(None))
Attributes = tuple[tuple[str, str, Any], ...]


class Changing:
    """Learns what changes, and notes it before each call.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = list(model.named_modules())
        self._buffers = dict(model.named_buffers())
        self._calls = 0
        self._attributes: set[tuple[str, str]] = set()
        self._written: set[str] = set()
        self._before: tuple[dict[tuple[str, str], Any], dict[str, int]] | None = None

    def entered(self, model: nn.Module) -> tuple[Attributes, dict[str, Tensor]]:
        """The model, or a module of it, is about to be called.

        Returns:
            What a call changes, as it is now.
        """
        learning = self._calls < _LEARNING
        if learning:
            self._before = self._look()
            small = sum(buffer.nbytes for buffer in self._buffers.values()) <= _BYTES
            written = set(self._buffers) if small else self._written
            kept = self._before[0]
        else:
            written = self._written
            modules = dict(self._modules) if self._attributes else {}
            kept = {(path, name): vars(modules[path]).get(name) for path, name in self._attributes}
        with torch.no_grad(), torch._C.DisableTorchFunction():
            copies = {name: self._buffers[name].detach().clone() for name in written}
        return tuple((path, name, value) for (path, name), value in kept.items()), copies

    def left(self, model: nn.Module) -> None:
        """The call is over."""
        if self._before is None:
            return
        attributes, versions = self._look()
        before, old = self._before
        self._before = None
        self._calls += 1
        changed = {key for key, value in attributes.items() if before.get(key, value) != value}
        self._attributes |= changed | (attributes.keys() - before.keys())
        self._written |= {name for name, version in versions.items() if old[name] != version}

    def _look(self) -> tuple[dict[tuple[str, str], Any], dict[str, int]]:
        plain = {
            (path, name): value
            for path, module in self._modules
            for name, value in vars(module).items()
            if type(value) in _PLAIN
        }
        return plain, {name: buffer._version for name, buffer in self._buffers.items()}
