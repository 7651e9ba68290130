"""Where a target builds its modules and its optimizer, and where it sets its parameters.

A module that runs at one line is often built at another, perhaps in another file. While the
target is loaded, the line and columns of the call that builds each module are recorded.
"""

from __future__ import annotations

import inspect
import os
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from isograd.fixes.layers import layer_classes, weighted

_OURS = tuple(
    os.path.dirname(os.path.abspath(p)) + os.sep
    for p in (torch.__file__, os.path.dirname(os.path.dirname(__file__)))
)
_STDLIB = sysconfig.get_paths()["stdlib"] + os.sep


@dataclass(frozen=True)
class Site:
    """A span of the source. Lines from 1, columns in UTF-8 bytes from 0, None if not known."""

    file: str
    line: int
    column: int | None = None
    end_line: int | None = None
    end_column: int | None = None


@dataclass(frozen=True)
class Sites:
    """What was built and set where.

    Attributes:
        modules: By path.
        optimizer: The call that built it.
        arguments: Names of what its class takes, in order.
        writes: By parameter, the calls that set it in place, in order.
        weights: Weights of linear and convolution layers.
        biases: Their biases that are not at 0.
        layers: Names of their classes in `torch.nn`; all there are if none was recorded.
    """

    modules: dict[str, Site] = field(default_factory=dict)
    optimizer: Site | None = None
    arguments: tuple[str, ...] = ()
    writes: dict[str, tuple[Site, ...]] = field(default_factory=dict)
    weights: tuple[str, ...] = ()
    biases: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()


class Recorder:
    """Records sites by object, as objects have no path before the model is whole."""

    def __init__(self) -> None:
        self._built: dict[int, tuple[Any, Site]] = {}
        self._written: dict[int, list[Site]] = {}

    def built(self, thing: Any, frame: FrameType | None) -> None:
        """Note the call of the class: the frame outside of the object's own `__init__`."""
        while frame is not None and (_inner(frame) or _constructs(frame, thing)):
            frame = frame.f_back
        if frame is not None and id(thing) not in self._built:
            self._built[id(thing)] = (thing, _site(frame))

    def written(self, tensor: torch.Tensor, frame: FrameType | None) -> None:
        """Note an in-place change, unless a layer of torch's draws its own weights."""
        while frame is not None and _inner(frame):
            if frame.f_code.co_name in ("reset_parameters", "_reset_parameters", "__init__"):
                return
            frame = frame.f_back
        if frame is not None:
            self._written.setdefault(tensor.data_ptr(), []).append(_site(frame))

    def of(self, model: nn.Module, optimizer: Any = None) -> Sites:
        """The sites of a model and its optimizer."""
        layers = dict(weighted(model))
        return Sites(
            {p: self._built[id(m)][1] for p, m in model.named_modules() if id(m) in self._built},
            self._built[id(optimizer)][1] if id(optimizer) in self._built else None,
            _arguments(optimizer),
            {
                name: tuple(self._written[p.data_ptr()])
                for name, p in model.named_parameters()
                if p.data_ptr() in self._written
            },
            tuple(f"{path}.weight".lstrip(".") for path in layers),
            tuple(
                f"{path}.bias".lstrip(".")
                for path, layer in layers.items()
                if isinstance(layer.bias, torch.Tensor) and bool(layer.bias.any())
            ),
            layer_classes(model),
        )


class _Writes(TorchFunctionMode):
    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        in_place = name.endswith("_") and not name.endswith("__")
        if in_place or name == "__setitem__" or name.startswith("__i"):
            first = args[0] if args else kwargs.get("tensor")  # as torch.nn.init hands it on
            if isinstance(first, torch.Tensor):
                self._recorder.written(first, sys._getframe(1))
        return result


@contextmanager
def recorded() -> Iterator[Recorder]:
    """Record what is built inside of the block."""
    recorder = Recorder()
    before = [(kind, kind.__init__) for kind in (nn.Module, torch.optim.Optimizer)]

    def noting(original: Any) -> Any:
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            recorder.built(self, sys._getframe(1))
            original(self, *args, **kwargs)

        return __init__

    for kind, original in before:
        setattr(kind, "__init__", noting(original))  # noqa: B010
    try:
        with _Writes(recorder):
            yield recorder
    finally:
        for kind, original in before:
            setattr(kind, "__init__", original)  # noqa: B010


def _arguments(optimizer: Any) -> tuple[str, ...]:
    if optimizer is None:
        return ()
    parameters = inspect.signature(type(optimizer).__init__).parameters.values()
    return tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)[1:]


def is_library(file: str) -> bool:
    """True for a file that is not the user's to change."""
    return (file.startswith(_STDLIB) or "site-packages" in file) or file.startswith("<")


def _inner(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_OURS)


def _constructs(frame: FrameType, thing: Any) -> bool:
    code = frame.f_code
    if code.co_name != "__init__" or not code.co_argcount:
        return False
    return frame.f_locals.get(code.co_varnames[0]) is thing


def _site(frame: FrameType) -> Site:
    file = os.path.abspath(frame.f_code.co_filename)
    if hasattr(frame.f_code, "co_positions"):  # Python 3.11
        positions = islice(frame.f_code.co_positions(), frame.f_lasti // 2, None)
        line, end_line, column, end_column = next(positions, (None, None, None, None))
        if line is not None:
            return Site(file, line, column, end_line, end_column)
    return Site(file, frame.f_lineno)
