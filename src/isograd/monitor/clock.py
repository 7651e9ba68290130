"""Tells when the optimizers of a model step, in anybody's loop.

Their step is the clock: it is where every loop comes by. A step of the training is over when all
that step in it have done so, or when one of them is about to step again: so two optimizers of
one model, and one for each parameter inside of the backward pass, count as they should. If the
optimizer is given a closure, its gradients are there when the closure has run for the first time:
so that is when its step begins.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

# Steps of other optimizers, for each of them, after which the one that ends steps is given up.
_PATIENCE = 32


class Listener(Protocol):
    """Who wants to know."""

    def adopted(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer that holds a parameter of the model is about to step for the first time."""
        ...

    def left(self, optimizer: torch.optim.Optimizer) -> None:
        """Another optimizer has taken the place of this one."""
        ...

    def begin_step(self, optimizer: torch.optim.Optimizer) -> None:
        """A step of the training: its first optimizer is about to step."""
        ...

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer is about to step."""
        ...

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer has stepped."""
        ...

    def end_step(self) -> None:
        """The step of the training is over."""
        ...


class Clock:
    """Listens to optimizers.

    Args:
        model: Optimizers that hold a parameter of it are adopted when they first step. One that
            holds all that another one held takes its place.
        optimizers: Those known from the start.
        listener: Told of every event.

    Attributes:
        simple: False if the optimizer is given closures, or its step calls its parent's.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        listener: Listener,
    ) -> None:
        self._model = model
        self._known: list[torch.optim.Optimizer] = list(optimizers)
        self._listener = listener
        self._met: weakref.WeakSet[Any] = weakref.WeakSet(optimizers)
        self._stepped: set[int] = set()
        self._begun: set[int] = set()
        # Calls of `step` that are open, one in the other where a class calls its parent's; and
        # how many there are in one step.
        self._depth: dict[int, int] = {}
        self._calls: dict[int, int] = {}
        self._seen = 0
        self._closures = 0
        self._look: Callable[[], None] | None = None
        self._once_a_step = False
        self.simple = True
        self._open = False
        self._settled = bool(optimizers)
        self._handle: Any = None
        self._handles: dict[int, list[Any]] = {}
        self._doze: Callable[[torch.optim.Optimizer], None] | None = None
        self._last: torch.optim.Optimizer | None = None
        self._others = 0

    def doze(self, stepped: Callable[[torch.optim.Optimizer], None]) -> bool:
        """Tell the listener nothing until it is woken; as cheap as can be.

        Args:
            stepped: Called instead, each time the optimizer that ended the latest step has
                stepped again.

        Returns:
            False if it cannot: it is not known which optimizer ends a step.
        """
        if self._last is None:
            return False
        self._doze, self._others, self._seen, self._look = stepped, 0, 0, None
        self._once_a_step = self._calls.get(id(self._last), 1) == 1
        return True

    def wake(self) -> None:
        """Tell the listener of everything again; the step that has just ended is over."""
        self._doze = self._look = None

    def looks(self, look: Callable[[], None] | None) -> None:
        """What is called in a doze before that optimizer steps."""
        self._look = look

    @property
    def others(self) -> int:
        """Number of optimizers that stepped meanwhile and hold no parameter of the model."""
        return len(self._met) - len(self._known)

    def open(self) -> None:
        """Begin to listen."""
        for optimizer in self._known:
            self._hook(optimizer)
        self._handle = register_optimizer_step_pre_hook(self._anyone)

    def close(self) -> None:
        """Stop; nothing is left on any optimizer. A step that is open ends."""
        self._end()
        self.leave()

    def leave(self) -> None:
        """Stop at once."""
        self._doze = None
        for optimizer in self._known:
            self._unhook(optimizer)
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _hook(self, optimizer: torch.optim.Optimizer) -> None:
        self._handles[id(optimizer)] = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]

    def _unhook(self, optimizer: torch.optim.Optimizer) -> None:
        for handle in self._handles.pop(id(optimizer), ()):
            handle.remove()

    def _anyone(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Any optimizer of the process is about to step; its own hooks run after this."""
        if optimizer is self._last or optimizer in self._met:
            return
        self._met.add(optimizer)
        own = {id(p) for p in self._model.parameters()}  # anew: some may have been added
        held = _held(optimizer) & own
        if not held:
            return
        for old in [known for known in self._known if _held(known) & own <= held]:
            self._known.remove(old)
            self._met.discard(old)
            self._unhook(old)
            self._stepped.discard(id(old))
            self._listener.left(old)
        self._known.append(optimizer)
        self._doze = self._last = None
        self._listener.adopted(optimizer)
        self._hook(optimizer)

    def _before(self, optimizer: Any, args: Any, kwargs: Any) -> Any:
        if self._doze is not None:
            if self._look is not None and optimizer is self._last:
                self._look()
            return None
        depth = self._depth[id(optimizer)] = self._depth.get(id(optimizer), 0) + 1
        if depth > 1:
            self.simple = False
            self._calls[id(optimizer)] = max(depth, self._calls.get(id(optimizer), 1))
            return None
        if id(optimizer) in self._stepped:
            self._settled = True
            self._last = optimizer
            self._end()
        if len(args) > 1 and callable(args[1]):
            return (args[0], self._once(optimizer, args[1]), *args[2:]), kwargs
        if kwargs and callable(kwargs.get("closure")):
            return args, {**kwargs, "closure": self._once(optimizer, kwargs["closure"])}
        self._begin(optimizer)
        return None

    def _once(self, optimizer: Any, closure: Callable[..., Any]) -> Callable[..., Any]:
        """The user's closure; behind its first run the step begins."""
        self.simple = False

        @functools.wraps(closure)
        def run(*args: Any, **kwargs: Any) -> Any:
            self._closures += 1
            try:
                out = closure(*args, **kwargs)
            finally:
                self._closures -= 1
            if id(optimizer) not in self._begun and self._handle is not None:
                self._begin(optimizer)
            return out

        return run

    def new_backward(self) -> None:
        """A backward pass begins: a call of `step` that is still open was broken off."""
        if self._depth and not self._closures:
            self._depth.clear()
            self._begun.clear()

    def _begin(self, optimizer: Any) -> None:
        self._begun.add(id(optimizer))
        if not self._open:
            self._open = True
            self._listener.begin_step(optimizer)
        self._stepped.add(id(optimizer))
        self._listener.before_step(optimizer)

    def _after(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        doze = self._doze
        if doze is not None:
            if self._once_a_step and optimizer is self._last:
                doze(optimizer)
            else:
                self._slept(optimizer)
            return
        depth = self._depth.pop(id(optimizer), 0)
        if depth > 1:
            self._depth[id(optimizer)] = depth - 1
            return
        if id(optimizer) not in self._begun:  # its closure was not called, or a doze has ended
            return
        self._begun.discard(id(optimizer))
        self._listener.after_step(optimizer)
        # Before one of them has come twice, more may follow in the first step.
        if self._settled and len(self._stepped) == len(self._known):
            self._last = optimizer
            self._end()

    def _slept(self, optimizer: Any) -> None:
        assert self._doze is not None
        if optimizer is not self._last:
            self._others += 1
            if self._others > _PATIENCE * len(self._known):
                self._doze = self._last = None
            elif self._once_a_step:
                self._once_a_step = False  # so that its own steps are heard of here, too
            return
        self._others = 0
        self._seen += 1
        if self._seen % self._calls.get(id(optimizer), 1):
            return
        self._doze(optimizer)

    def _end(self) -> None:
        if self._open:
            self._open = False
            self._stepped.clear()
            self._listener.end_step()


def _held(optimizer: torch.optim.Optimizer) -> set[int]:
    return {id(p) for group in optimizer.param_groups for p in group["params"]}
