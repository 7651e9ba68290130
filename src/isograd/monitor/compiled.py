"""Whether a training runs through torch.compile, now or from here on.

What is compiled must not run under a mode of ours: dynamo would trace the mode into the graph.
Such trainings are watched by the numbers that lie outside of the graph.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from torch import nn

_listening: list[Callable[[], None]] = []
_originals: dict[str, Any] = {}


def is_compiled(model: nn.Module) -> bool:
    """True if a module of the model is compiled, or any function of the program is."""
    for module in model.modules():
        if type(module).__name__ == "OptimizedModule" or getattr(
            module, "_compiled_call_impl", None
        ):
            return True
    if not _backends():
        return False
    own = {id(module) for module in model.modules()}
    return any(_compiled(thing, own) for thing in gc.get_objects())


def _backends() -> bool:
    """False if dynamo has wrapped nothing but functions to leave alone; looking costs much."""
    frames = sys.modules.get("torch._dynamo.eval_frame")
    if frames is None:
        return False
    known = getattr(frames, "cached_backends", None)
    # None stands for what is left alone; an empty table was reset, and tells nothing.
    return not known or any(backend is not None for backend in known.values())


def _compiled(thing: Any, own: set[int]) -> bool:
    kind = type(thing)
    if kind is FunctionType:
        home = (thing.__module__ or "").partition(".")[0]
        mine = home != "torch" and not thing.__dict__.get("_torchdynamo_disable")
        return mine and "_torchdynamo_orig_callable" in thing.__dict__
    if kind.__name__ != "OptimizedModule" or not issubclass(kind, nn.Module):
        return False
    return any(id(module) in own for module in thing.modules())


def tell_when_compiled(listener: Callable[[], None]) -> Callable[[], None]:
    """Call `listener` just before something is compiled.

    Returns:
        Ends it.
    """
    if not _listening:
        _originals["compile"] = torch.compile
        _originals["method"] = nn.Module.compile
        torch.compile = _compile  # type: ignore[assignment]
        nn.Module.compile = _method  # type: ignore[method-assign]
    _listening.append(listener)

    def end() -> None:
        if listener in _listening:
            _listening.remove(listener)
        if not _listening:
            if torch.compile is _compile:
                torch.compile = _originals["compile"]
            if nn.Module.compile is _method:
                nn.Module.compile = _originals["method"]  # type: ignore[method-assign]

    return end


def _compile(*args: Any, **kwargs: Any) -> Any:
    _tell()
    return _originals["compile"](*args, **kwargs)


def _method(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    _tell()
    return _originals["method"](self, *args, **kwargs)


def _tell() -> None:
    for listener in tuple(_listening):
        listener()
