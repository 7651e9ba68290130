"""What a step keeps in its own variables: generators, counters, lists, put back and seeded.

A step that draws batches with a generator of its own, or counts its calls, would give every trial
other batches. What it closes over is searched for such state. Iterators cannot be put back, nor can
tensors that are changed in place; trials in processes of their own are not touched by that.
"""

from __future__ import annotations

import collections
import functools
import random
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from isograd.capture.rng import RandomState

_DEPTH = 5
_MANY = 2000
# Longer lists are data.
_LONG = 10_000


class Rewind:
    """State of some functions' variables and of all generators, as it is now.

    Args:
        functions: The step and the training step; None is passed over.
    """

    def __init__(self, *functions: Callable[..., Any] | None) -> None:
        self._global = RandomState()
        self._found = list(_reachable([f for f in functions if f is not None]))
        self._saved = [_save(thing) for thing in self._found]

    def restore(self) -> None:
        """Put everything back."""
        self._global.restore()
        for put_back in self._saved:
            put_back()

    def seed(self, seed: int) -> None:
        """Seed all generators."""
        random.seed(seed)
        numpy.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        for thing in self._found:
            if isinstance(thing, torch.Generator):
                thing.manual_seed(seed)
            elif isinstance(thing, numpy.random.Generator):
                fresh = numpy.random.Generator(type(thing.bit_generator)(seed))
                thing.bit_generator.state = fresh.bit_generator.state
            elif isinstance(thing, numpy.random.RandomState | random.Random):
                thing.seed(seed)


def reachable(*functions: Callable[..., Any] | None) -> Iterator[Any]:
    """Generators, cells and containers, variables of objects among them, behind functions."""
    return _reachable([f for f in functions if f is not None])


def _save(thing: Any) -> Callable[[], None]:
    if isinstance(thing, torch.Generator):
        state = thing.get_state()
        return lambda: (thing.set_state(state), None)[1]
    if isinstance(thing, numpy.random.Generator):
        bits = thing.bit_generator.state
        return lambda: setattr(thing.bit_generator, "state", bits)
    if isinstance(thing, numpy.random.RandomState):
        legacy = thing.get_state()
        return lambda: thing.set_state(legacy)
    if isinstance(thing, random.Random):
        python = thing.getstate()
        return lambda: thing.setstate(python)
    if isinstance(thing, types.CellType):
        value = thing.cell_contents
        return lambda: setattr(thing, "cell_contents", value)
    if isinstance(thing, _Globals):
        return functools.partial(thing.update, dict(thing.items()))
    kept = thing.copy()
    return lambda: _fill(thing, kept)


def _fill(thing: Any, kept: Any) -> None:
    """Give a container its entries back, if they are others now."""
    now, then = (list(c.items() if isinstance(c, dict) else c) for c in (thing, kept))
    if len(now) == len(then) and all(_same(a, b) for a, b in zip(now, then, strict=True)):
        return
    thing.clear()
    (thing.update if isinstance(thing, dict | set) else thing.extend)(kept)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
        return all(x is y for x, y in zip(a, b, strict=True))
    return a is b


def _reachable(roots: list[Any]) -> Iterator[Any]:
    """Generators, cells, global names in use, and containers, those of attributes among them."""
    seen: set[int] = set()
    stack = [(root, 0) for root in roots]
    while stack and len(seen) < _MANY:
        thing, depth = stack.pop()
        if id(thing) in seen or depth > _DEPTH:
            continue
        seen.add(id(thing))
        if isinstance(
            thing,
            torch.Generator | numpy.random.Generator | numpy.random.RandomState | random.Random,
        ):
            yield thing
        elif isinstance(thing, types.FunctionType):
            for cell in thing.__closure__ or ():
                try:
                    value = cell.cell_contents
                except ValueError:
                    continue
                yield cell
                stack.append((value, depth + 1))
            stack += [(v, depth + 1) for v in thing.__defaults__ or ()]
            names = [n for n in thing.__code__.co_names if n in thing.__globals__]
            used = {n: thing.__globals__[n] for n in names}
            stack += [(v, depth + 1) for v in used.values() if not isinstance(v, types.ModuleType)]
            variables = [n for n, v in used.items() if not _is_fixed(v)]
            if variables:
                yield _Globals(thing.__globals__, variables)
        elif isinstance(thing, types.MethodType):
            stack += [(thing.__func__, depth), (thing.__self__, depth + 1)]
        elif isinstance(thing, types.BuiltinMethodType):
            stack.append((thing.__self__, depth + 1))
        elif isinstance(thing, functools.partial):
            stack += [(v, depth + 1) for v in (thing.func, *thing.args, *thing.keywords.values())]
        elif isinstance(thing, list | tuple | set | dict | collections.deque):
            if not isinstance(thing, tuple) and len(thing) < _LONG:
                yield thing
            if len(thing) < 50:
                values = thing.values() if isinstance(thing, dict) else thing
                stack += [(v, depth + 1) for v in list(values)]
        elif _is_plain_object(thing):
            yield vars(thing)
            stack += [(v, depth + 1) for v in list(vars(thing).values())[:50]]


class _Globals:
    """Some names of a module, as a dictionary of their values."""

    def __init__(self, namespace: dict[str, Any], names: list[str]) -> None:
        self._namespace, self._names = namespace, names

    def items(self) -> list[tuple[str, Any]]:
        """Names and values."""
        return [(name, self._namespace[name]) for name in self._names]

    def update(self, values: dict[str, Any]) -> None:
        """Put values back."""
        self._namespace.update(values)


def _is_fixed(thing: Any) -> bool:
    """True for what a module defines once: functions, classes, modules."""
    return isinstance(thing, types.ModuleType | types.FunctionType | type)


def _is_plain_object(thing: Any) -> bool:
    opaque = isinstance(thing, nn.Module | Tensor | torch.optim.Optimizer | type | types.ModuleType)
    return not opaque and hasattr(thing, "__dict__")
