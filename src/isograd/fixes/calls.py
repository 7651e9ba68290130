"""Calls inside of a model or a step, replaced while it runs.

A functional call such as `torch.sigmoid(x)` hangs on no module. A function mode meets it by its
name and by the line of the user's source that makes it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

from isograd.capture.places import user_frame
from isograd.fixes.rewind import Rewind
from isograd.fixes.setup import Setup

_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep
# Called with the function, its arguments and keywords; returns what stands for the result.
Replacement = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


class Replaced(TorchFunctionMode):
    """Replaces calls by name, at some lines or at all.

    Args:
        names: Names of functions, such as `sigmoid`.
        lines: Lines as records give them, `file.py:42`; none for all.
        replacement: What to do instead.
    """

    def __init__(self, names: Iterable[str], lines: Iterable[str], replacement: Replacement):
        super().__init__()
        self._names = frozenset(names)
        self._lines = frozenset(_tail(line) for line in lines)
        self._replacement = replacement

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run the call, or what stands for it."""
        kwargs = kwargs or {}
        if name_of(func) in self._names and (not self._lines or self._here()):
            return self._replacement(func, args, kwargs)
        return func(*args, **kwargs)

    def _here(self) -> bool:
        return _tail(self.line(3) or "") in self._lines

    def line(self, depth: int = 2) -> str | None:
        """The innermost line of the user's source that is running, as `file.py:42`."""
        frame = user_frame(sys._getframe(depth))
        while frame is not None and frame.f_code.co_filename.startswith(_OURS):
            frame = user_frame(frame.f_back)
        return None if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def name_of(func: Any) -> str:
    """The name of a torch function; of an attribute, such as `data`, its own."""
    name = getattr(func, "__name__", "")
    if name == "__get__":
        return getattr(getattr(func, "__self__", None), "__name__", name)
    return name


def _tail(line: str) -> str:
    return line.replace("\\", "/").rsplit("/", 1)[-1]


class _Around:
    """Opens a mode while a module runs."""

    def __init__(self, make: Callable[[], TorchFunctionMode]) -> None:
        self._make = make
        self._open: list[ExitStack] = []

    def before(self, *_: Any) -> None:
        stack = ExitStack()
        stack.enter_context(self._make())
        self._open.append(stack)

    def after(self, *_: Any) -> None:
        if self._open:
            self._open.pop().close()


def inside(model: nn.Module, make: Callable[[], TorchFunctionMode]) -> None:
    """Open a mode whenever the model runs, from now on."""
    around = _Around(make)
    model.register_forward_pre_hook(around.before)
    model.register_forward_hook(around.after, always_call=True)


def around(setup: Setup, make: Callable[[], AbstractContextManager[Any]]) -> Setup:
    """Open a context around the step, and around the training step if there is one."""
    step, train_step = setup.step, setup.train_step

    def wrapped(model: nn.Module) -> Any:
        with make():
            return step(model)

    setup.step = wrapped
    if train_step is not None:

        def whole(model: nn.Module, optimizer: Any) -> Any:
            with make():
                return train_step(model, optimizer)

        setup.train_step = whole
    return setup


def where_made(setup: Setup, make: Callable[[], TorchFunctionMode], names: Iterable[str]) -> Any:
    """How to open a mode: `inside` the model if it makes one of the calls, or else `around`.

    What changes the answers of a model must be open wherever the model runs, also in evaluation.

    Args:
        setup: Its step runs once on a copy.
        make: Gives the mode.
        names: Of the calls.
    """
    twin, wanted = setup.copied(), frozenset(names)
    seen: list[str] = []

    class Seen(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            if name_of(func) in wanted:
                seen.append(name_of(func))
            return func(*args, **(kwargs or {}))

    inside(twin.model, Seen)
    rewind = Rewind(setup.step, setup.train_step)
    try:
        setup.step(twin.model)
    except Exception:  # what cannot run here shows it in its trial
        seen.clear()
    finally:
        rewind.restore()
    if seen:
        inside(setup.model, make)
        return setup
    return around(setup, make)
