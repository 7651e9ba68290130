"""Where an activation is: modules of the model, and functional calls at lines of the source."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch.nn.functional as F
from torch import nn

from isograd.fixes.calls import Replaced, inside
from isograd.fixes.layers import put
from isograd.fixes.patches import functions, modules
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError
from isograd.records import Op


@dataclass(frozen=True)
class New:
    """An activation to put in another's place.

    Attributes:
        module: Its class in `torch.nn`.
        function: Its name in `torch.nn.functional`.
        settings: Keyword arguments of both.
    """

    module: str
    function: str
    settings: dict[str, Any] = field(default_factory=dict)

    def build(self) -> nn.Module:
        """A module."""
        return getattr(nn, self.module)(**self.settings)

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The function in place of another call: only the tensor is taken from that."""
        value = args[0] if args else kwargs["input"]
        return getattr(F, self.function)(value, **self.settings)

    @property
    def arguments(self) -> str:
        """The settings as source."""
        return ", ".join(f"{name}={value!r}" for name, value in self.settings.items())


def found(model: nn.Module, ops: Iterable[Op]) -> dict[str, Any]:
    """Places of ops as plain data: `modules` (path to class name), `lines` and `calls`."""
    known = dict(model.named_modules())
    paths: dict[str, str] = {}
    lines: list[str] = []
    calls: list[str] = []
    for op in ops:
        module = known.get(op.module)
        if op.module and module is not None and not [*module.children(), *module.parameters()]:
            paths[op.module] = type(module).__name__
        elif op.source is not None:
            lines.append(op.source)
            calls.append(op.name)
    return {
        "modules": paths,
        "lines": list(dict.fromkeys(lines)),
        "calls": list(dict.fromkeys(calls)),
    }


def changed(model: nn.Module, places: dict[str, Any], new: New) -> None:
    """Put the new one everywhere."""
    for path in places["modules"]:
        put(model, path, new.build())
    if places["calls"]:
        replacement: Callable[..., Any] = lambda _, args, kwargs: new.call(*args, **kwargs)  # noqa: E731
        inside(model, lambda: Replaced(places["calls"], places["lines"], replacement))


def edited(source: Source, places: dict[str, Any], new: New) -> None:
    """The same in the source.

    Raises:
        NotInSourceError: If a call is not found.
    """
    more = f", {new.arguments}" if new.settings else ""
    for old in dict.fromkeys(places["modules"].values()):
        paths = [path for path, kind in places["modules"].items() if kind == old]
        modules.replaced(source, paths, old, new.module, new.arguments)
    if places["calls"]:
        if not functions.replaced(source, places["lines"], places["calls"], new.function, more):
            raise NotInSourceError(f"no call of {places['calls'][0]} was found in your source")


def lines(places: dict[str, Any], new: New) -> str:
    """The same as lines to paste; "" where functional calls are to be changed."""
    if places["calls"] or not places["modules"]:
        return ""
    return modules.put_lines("model", "nn", list(places["modules"]), new.module, new.arguments)
