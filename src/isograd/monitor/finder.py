"""Finds the model and its optimizers in a program that knows nothing of isograd.

A constructor of optimizers that is wrapped tells that there is one. When then a module is called
that holds its parameters, the training begins: the modules that nobody else holds and whose
parameters some optimizer has are the model. The search is over with that call, so the training
itself runs without any of it.
"""

from __future__ import annotations

import functools
import gc
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

Found = Callable[[nn.Module, list[torch.optim.Optimizer]], None]
# Trainings in one program that are followed.
MANY = 4
# A compiled module warns of hooks on all modules; ours is gone with its first call.
_HOOKED = r"Using `torch\.compile\(module\)` when there are global hooks"
_WRAPPERS = ("DistributedDataParallel", "DataParallel")


class Together(nn.Module):
    """Several models that are trained together, such as a generator and a critic.

    Args:
        models: They become attributes by the names of their classes.
    """

    def __init__(self, models: list[nn.Module]) -> None:
        super().__init__()
        for model in models:
            name = type(model).__name__
            number = sum(1 for taken in self._modules if taken.rstrip("0123456789") == name)
            self.add_module(name if not number else f"{name}{number + 1}", model)


class Finder:
    """Listens until a training begins.

    Args:
        found: Called with the model and the optimizers just before the model's first call.

    Attributes:
        unowned: True if an optimizer stepped whose parameters no module holds.
    """

    def __init__(self, found: Found) -> None:
        self._found = found
        self.unowned = False
        self._optimizers: list[weakref.ref[torch.optim.Optimizer]] = []
        self._known: set[int] = set()
        self._handles: list[Any] = []
        self._times = 0
        self._constructor: Any = None

    def open(self) -> None:
        """Begin to listen."""
        original = self._constructor = torch.optim.Optimizer.__init__

        @functools.wraps(original)
        def construct(optimizer: Any, *args: Any, **kwargs: Any) -> None:
            original(optimizer, *args, **kwargs)
            self._built(optimizer)

        torch.optim.Optimizer.__init__ = construct  # type: ignore[method-assign]
        self._wrapper = construct
        self._handles.append(register_optimizer_step_pre_hook(self._steps))

    def close(self) -> None:
        """Stop."""
        if torch.optim.Optimizer.__init__ is self._wrapper:
            torch.optim.Optimizer.__init__ = self._constructor  # type: ignore[method-assign]
        self._rest()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _built(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizers.append(weakref.ref(optimizer))
        if len(self._handles) == 1 and self._times < MANY:
            self._handles.append(register_module_forward_pre_hook(self._called))
            warnings.filterwarnings("ignore", message=_HOOKED)

    def _called(self, module: nn.Module, args: Any) -> None:
        """A module is called while an optimizer waits for its model."""
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return
        waiting = self._waiting()
        if any(id(p) in waiting for p in module.parameters()):
            self._search(waiting)

    def _steps(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """An optimizer steps whose model never was called as a module."""
        own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if self._times >= MANY or own & self._known:
            return
        if not any(ref() is optimizer for ref in self._optimizers):
            self._optimizers.append(weakref.ref(optimizer))
        times = self._times
        self._search(own)
        self.unowned = self.unowned or self._times == times

    def _waiting(self) -> set[int]:
        """Parameters of optimizers whose model is not known."""
        held = {
            id(p)
            for ref in self._optimizers
            if (optimizer := ref()) is not None
            for group in optimizer.param_groups
            for p in group["params"]
        }
        return held - self._known

    def _rest(self) -> None:
        """Take the hook on all modules away, and with it the silence about it."""
        for handle in self._handles[1:]:
            handle.remove()
        del self._handles[1:]
        warnings.filters[:] = [f for f in warnings.filters if _pattern(f[1]) != _HOOKED]  # type: ignore[index]

    def _search(self, waiting: set[int]) -> None:
        self._rest()
        self._known |= waiting
        roots = _roots(waiting)
        if not roots or self._times >= MANY:
            return
        self._times += 1
        model = roots[0] if len(roots) == 1 else Together(roots)
        own = {id(p) for p in model.parameters()}
        self._known |= own
        optimizers = [
            optimizer
            for ref in self._optimizers
            if (optimizer := ref()) is not None
            and any(id(p) in own for group in optimizer.param_groups for p in group["params"])
        ]
        self._found(model, optimizers)


def _pattern(message: Any) -> Any:
    return getattr(message, "pattern", message)


def _roots(parameters: set[int]) -> list[nn.Module]:
    """Modules that hold one of these parameters and that no other module holds."""
    everyone = [o for o in gc.get_objects() if issubclass(type(o), nn.Module)]
    children = {
        id(child)
        for module in everyone
        if not isinstance(module, Together)
        for child in module.__dict__.get("_modules", {}).values()
    }
    roots = [
        module
        for module in everyone
        if id(module) not in children
        and not isinstance(module, Together)
        and any(id(p) in parameters for p in _parameters(module))
    ]
    return [_inner(module) for module in roots]


def _parameters(module: nn.Module) -> list[Any]:
    try:
        return list(module.parameters())
    except Exception:  # half built, or with a `parameters` of its own
        return []


def _inner(module: nn.Module) -> nn.Module:
    """The model inside a wrapper that only distributes it: its names are the user's."""
    while type(module).__name__ in _WRAPPERS and isinstance(module.module, nn.Module):
        module = module.module
    return module
