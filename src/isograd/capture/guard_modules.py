"""Attributes of all modules before and after, and the containers among them."""

from __future__ import annotations

import random
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from itertools import filterfalse
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from isograd.capture.guard_errors import lazy_error

# Containers that hang on a module are followed down, unless they are long.
_FOLLOWED_LENGTH = 64
_UNINITIALIZED = (UninitializedParameter, UninitializedBuffer)

_DICTS = frozenset((dict, OrderedDict, defaultdict))
_CONTAINERS = _DICTS | {list, set, deque}
_GENERATORS: dict[type, tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]] = {
    torch.Generator: (torch.Generator.get_state, torch.Generator.set_state),
    random.Random: (random.Random.getstate, random.Random.setstate),
}
_STATEFUL = _CONTAINERS | _GENERATORS.keys()


class Modules:
    """Attributes of all modules, and the containers among them."""

    __slots__ = ("_contents", "_empty", "_generators", "_model", "_saved", "buffers", "parameters")
    _contents: list[tuple[Any, Any]]

    def __init__(self, model: nn.Module):
        self._model = model
        self._saved: list[tuple[nn.Module, type, dict[str, Any], dict[str, Any]]] = []
        self._contents = contents = []
        self._empty: list[Any] = []
        self._generators: list[tuple[Any, Any]] = []
        parameters: dict[int, Tensor] = {}
        buffers: dict[int, Tensor] = {}
        seen: set[int] = set()
        stack: list[Any] = [model]
        while stack:
            module = stack.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            attributes = module.__dict__
            self._saved.append((module, module.__class__, attributes, attributes.copy()))
            own = module._parameters
            if not isinstance(own, dict):  # a script module keeps its state in C++
                parameters.update((id(t), t) for t in module.parameters(recurse=False))
                buffers.update((id(t), t) for t in module.buffers(recurse=False))
                stack.extend(reversed(list(module.children())))
                self._follow(attributes.values(), seen)
                continue
            if own:
                contents.append((own, own.copy()))
                seen.add(id(own))
                for tensor in own.values():
                    if tensor is not None:
                        parameters[id(tensor)] = tensor
            if own := module._buffers:
                contents.append((own, own.copy()))
                seen.add(id(own))
                for tensor in own.values():
                    if tensor is not None:
                        buffers[id(tensor)] = tensor
            if own := module._modules:
                contents.append((own, own.copy()))
                seen.add(id(own))
                # Reversed, so that the stack gives them in the order of the model.
                stack.extend([child for child in reversed(own.values()) if child is not None])
            self._follow(attributes.values(), seen)
        self.parameters = list(parameters.values())
        self.buffers = list(buffers.values())
        if any(isinstance(t, _UNINITIALIZED) for t in (*self.parameters, *self.buffers)):
            raise lazy_error(model)

    def restore(self) -> dict[str, str]:
        """Put everything back.

        Returns:
            Name of each parameter that was replaced, created or removed, and which of these.
        """
        now: dict[str, Any] | None = None
        for module, cls, attributes, before in self._saved:
            if module.__class__ is not cls or not same_dict(attributes, before):
                now = now if now is not None else self._names()
                module.__class__ = cls
                attributes.clear()
                attributes.update(before)
        for container, before in self._contents:
            if not _same(container, before):
                now = now if now is not None else self._names()
                refill(container, before)
        if any(self._empty):
            now = now if now is not None else self._names()
            for container in self._empty:
                container.clear()
        for generator, state in self._generators:
            _GENERATORS[generator.__class__][1](generator, state)
        return {} if now is None else _differences(self._names(), now)

    def _follow(self, values: Iterable[Any], seen: set[int]) -> None:
        stateful = _STATEFUL
        found = [value for value in values if value.__class__ in stateful]
        self._empty.extend(filterfalse(None, found))
        for value in filter(None, found):
            cls = value.__class__
            if cls in _GENERATORS:
                self._generators.append((value, _GENERATORS[cls][0](value)))
            elif id(value) not in seen:
                seen.add(id(value))
                self._contents.append((value, value.copy()))
                if len(value) <= _FOLLOWED_LENGTH:
                    self._follow(value.values() if cls in _DICTS else value, seen)

    def _names(self) -> dict[str, Any]:
        return dict(self._model.named_parameters(remove_duplicate=False))


def same_dict(now: dict[Any, Any], before: dict[Any, Any]) -> bool:
    """True if both hold the same objects under the same keys, in order."""
    # Equal is not enough: an equal tensor may hold the step's graph.
    return list(now) == list(before) and all(map(is_, now.values(), before.values()))


def _same(now: Any, before: Any) -> bool:
    if now.__class__ in _DICTS:
        return same_dict(now, before)
    if now.__class__ is set:
        return now == before
    return len(now) == len(before) and all(map(is_, now, before))


def refill(container: Any, before: Any) -> None:
    """Put a container's contents back in place; None stands for empty."""
    if before is None:
        if container:
            container.clear()
    elif not _same(container, before):
        container.clear()
        if container.__class__ in (list, deque):
            container.extend(before)
        else:
            container.update(before)


def _differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, str]:
    how = {
        name: "removed" if name not in after else "replaced by another tensor"
        for name, parameter in before.items()
        if after.get(name) is not parameter
    }
    how.update((name, "created") for name in after if name not in before)
    return how
