"""Tells when the optimizers of a model step, in anybody's loop.

Their step is the clock: it is where every loop comes by. A step of the training is over when all
that step in it have done so, or when one of them is about to step again: so two optimizers of
one model, and one for each parameter inside of the backward pass, count as they should.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook


class Listener(Protocol):
    """Who wants to know."""

    def adopted(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer that holds a parameter of the model is about to step for the first time."""
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
        model: Optimizers that hold a parameter of it are adopted when they first step.
        optimizers: Those known from the start.
        listener: Told of every event.
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
        self._own: set[int] = set()
        self._met: dict[int, Any] = {id(optimizer): optimizer for optimizer in optimizers}
        self._stepped: set[int] = set()
        self._open = False
        self._settled = bool(optimizers)
        self._handles: list[Any] = []
        self._doze: Callable[[torch.optim.Optimizer], bool] | None = None

    def doze(self, stepped: Callable[[torch.optim.Optimizer], bool]) -> bool:
        """Tell the listener nothing for a while; as cheap as can be.

        Args:
            stepped: Called instead when the optimizer has stepped; true ends the doze, and the
                step ends as any other.

        Returns:
            False if it cannot: there are several optimizers.
        """
        if len(self._known) != 1:
            return False
        self._doze = stepped
        return True

    @property
    def others(self) -> int:
        """Number of optimizers that stepped meanwhile and hold no parameter of the model."""
        return len(self._met) - len(self._known)

    def open(self) -> None:
        """Begin to listen."""
        self._own = {id(p) for p in self._model.parameters()}
        for optimizer in self._known:
            self._hook(optimizer)
        self._handles.append(register_optimizer_step_pre_hook(self._anyone))

    def close(self) -> None:
        """Stop; nothing is left on any optimizer. A step that is open ends."""
        self._end()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _hook(self, optimizer: torch.optim.Optimizer) -> None:
        self._handles.append(optimizer.register_step_pre_hook(self._before))
        self._handles.append(optimizer.register_step_post_hook(self._after))

    def _anyone(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Any optimizer of the process is about to step; its own hooks run after this."""
        if id(optimizer) in self._met:
            return
        self._met[id(optimizer)] = optimizer  # kept, so that its id stays its own
        if any(id(p) in self._own for group in optimizer.param_groups for p in group["params"]):
            self._known.append(optimizer)
            self._doze = None
            self._listener.adopted(optimizer)
            self._hook(optimizer)

    def _before(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self._doze is not None:
            return
        if id(optimizer) in self._stepped:
            self._settled = True
            self._end()
        if not self._open:
            self._open = True
            self._listener.begin_step(optimizer)
        self._stepped.add(id(optimizer))
        self._listener.before_step(optimizer)

    def _after(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self._doze is not None:
            if self._doze(optimizer):
                self._doze = None
                self._listener.end_step()
            return
        self._listener.after_step(optimizer)
        # Before one of them has come twice, more may follow in the first step.
        if self._settled and len(self._stepped) == len(self._known):
            self._end()

    def _end(self) -> None:
        if self._open:
            self._open = False
            self._stepped.clear()
            self._listener.end_step()
