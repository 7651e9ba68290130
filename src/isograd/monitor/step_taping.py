"""Writes the tape of each step of somebody else's training loop, as cheaply as can be.

Inside of the model, and inside of the backward pass and the optimizer, the mode is off; only the
few calls of the loop itself are noted. Nothing that the step makes is kept alive, only the data
that comes from outside.
"""

from __future__ import annotations

import sys
import time
import weakref
from collections.abc import Callable
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn

from isograd.capture.places import _is_user
from isograd.monitor import functions, module_calls
from isograd.monitor.changing import Changing
from isograd.monitor.mode_stack import LowestMode
from isograd.monitor.noting import MODE, UNSCALES, draws, is_passed, name_of, not_noted, writes
from isograd.monitor.step_tape import BACKWARD, Applied, Drawn, GradOf, StepEntry, StepTape, cut
from isograd.monitor.tape import Constant, Named, NotPlayableError, Ref, leaves, mapped

# More calls than this before the model is called prepare data; only their result counts.
CALLS = 2000


class StepTaping(LowestMode):
    """Notes the calls of the step in hand.

    Args:
        model: Whose module calls are entries.
        early: Note what prepares the data too, not only what comes after the model's first call.

    Attributes:
        seconds: What noting has taken since it was last set to 0.
        idle: True while what runs is not the training.
        thrown: True once a scaler has ended a step that is still on the tape.
    """

    def __init__(self, model: nn.Module, early: bool = True) -> None:
        super().__init__()
        self.seconds = 0.0
        self.idle = False
        self.early = early
        self._model = model
        self._paths = {id(module): path for path, module in model.named_modules()}
        self._parameters = dict(model.named_parameters())
        named = (*self._parameters.items(), *model.named_buffers())
        self._names = {id(tensor): name for name, tensor in named}
        self._device = next((t.device.type for _, t in named), "cpu")
        self._changing = Changing(model)
        self._user: dict[CodeType, bool] = {}
        self._on = self._ready = False
        self._depth = 1
        self._backwards = 0
        self._paused = False
        self.forget()

    def forget(self) -> None:
        """A step begins."""
        self._entries: list[StepEntry] = []
        self._known: dict[int, tuple[Any, Ref]] = {}
        self._constants: dict[int, Constant] = {}
        self._gradients: dict[int, str] = {}
        self._lost = ""
        self.thrown = False
        # The latest scalar with a history, until a backward pass begins.
        self._loss: Tensor | None = None

    def start(self) -> None:
        """Be ready; patching a class of so many children is nothing for every step."""
        if not self._ready:
            self._ready = True
            module_calls.listen(self)
            functions.listen(self)

    def stop(self) -> None:
        """Leave nothing behind."""
        self.close()
        if self._ready:
            self._ready = False
            module_calls.leave(self)
            functions.leave(self)

    def open(self) -> None:
        """Begin to listen: a step begins."""
        if not self._on:
            self.start()
            self._on = True
            self._depth = self._backwards = 0
            self._paused = False
            self.forget()
            if self.early:
                self.lay()

    def close(self) -> None:
        """Stop; what was noted stays."""
        if self._on:
            self._on = False
            self._depth = 1
        self.lift()  # not while a call is handled; then at the next chance

    def pause(self) -> None:
        """The optimizer steps: what it does is none of the tape's business.

        Until it calls a closure: then the model is called again, and a new tape begins.
        """
        self._paused = True
        self._depth += 1
        self.lift()

    def resume(self) -> None:
        """It has stepped; another may follow in the same step."""
        if self._paused:
            self._depth -= 1
        self._paused = False
        if self._on and not self._depth:
            self.lay()

    def ends_badly(self) -> float | None:
        """No more comes: the last loss if it is not finite; then it is taken as a root."""
        loss = self._loss
        if loss is not None and not bool(torch.isfinite(loss.detach()).all()):
            self._begin(BACKWARD, (loss,), {})
            return float(loss.detach())
        return None

    def _skip(self) -> None:
        """What went backward so far is over: a scaler has made its step or left it out."""
        for entry in self._entries:
            self.thrown = self.thrown or not entry.dead
            entry.dead = True

    @property
    def inside_backward(self) -> bool:
        """True while a backward pass runs."""
        return self._backwards > 0

    def data(self) -> list[Constant]:
        """The data of the step so far."""
        return list(self._constants.values())

    def tape(self) -> StepTape:
        """The step so far.

        Raises:
            NotPlayableError: If it cannot be played, and why.
        """
        if self._lost:
            raise NotPlayableError(self._lost)
        return cut(self._entries)

    def before_backward(self, root: Any) -> None:
        """A backward pass begins at `root`."""
        self._backwards += 1
        if self._backwards > 1:  # a checkpoint's, inside of another
            return
        begin = time.perf_counter()
        self._loss = None
        if any(getattr(entry.call, "__name__", "") == UNSCALES for entry in self._entries):
            self._skip()
        roots = leaves(root)
        if all(tensor.numel() == 1 for tensor in roots):
            self._begin(BACKWARD, tuple(roots), {})
        else:
            self._lose("a backward pass began at a tensor that is no scalar")
        self.lift()
        self._depth += 1
        self.seconds += time.perf_counter() - begin

    def after_backward(self) -> None:
        """It is over: what comes now may work on the gradients."""
        self._backwards -= 1
        if self._backwards:
            return
        begin = time.perf_counter()
        self._depth -= 1
        for name, parameter in self._parameters.items():
            if parameter.grad is not None:
                self._gradients[id(parameter.grad)] = name
        if self._on and not self._depth:
            self.lay()
        self.seconds += time.perf_counter() - begin

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run one call and note it."""
        kwargs = kwargs or {}
        with self.handling():
            return self._noting(func, args, kwargs)

    def _noting(self, func: Any, args: Any, kwargs: Any) -> Any:
        if is_passed(func) or self._lost or self._depth:
            self.seconds += MODE
            return func(*args, **kwargs)
        begin = time.perf_counter()
        name = name_of(func)
        if not_noted(name) or (name == "__set__" and args[1] is None):
            self.seconds += time.perf_counter() - begin + MODE
            return func(*args, **kwargs)
        number = self._begin(func, args, kwargs, name=name)
        middle = time.perf_counter()
        out = func(*args, **kwargs)
        end = time.perf_counter()
        self._end(number, out, args)
        self.seconds += time.perf_counter() - end + middle - begin + MODE
        return out

    def enter(self, module: nn.Module, args: Any, kwargs: Any) -> int | None:
        """A module is called: if it is one of the model's, that is one entry."""
        if self.idle:
            return None
        if self._paused and self._depth == 1 and id(module) in self._paths:
            self.forget()
            self._paused = False
            self._depth = 0
        if self._lost or self._depth or id(module) not in self._paths:
            return None
        begin = time.perf_counter()
        number = self._begin(self._paths[id(module)], args, kwargs, module.training)
        self.lift()
        self._depth += 1
        self.seconds += time.perf_counter() - begin
        return number

    def applies(self, function: Any, args: Any) -> int | None:
        """A custom autograd function is applied: that is one entry."""
        if self.idle or self._lost or self._depth:
            return None
        number = self._begin(Applied(function), args, {})
        self._depth += 1
        return number

    def leave(self, token: int, out: Any, fine: bool) -> None:
        """It returned, or raised."""
        begin = time.perf_counter()
        self._depth -= 1
        if fine:
            self._end(token, out, ())
            self._changing.left(self._model)
        if self._on and not self._depth:
            self.lay()
        self.seconds += time.perf_counter() - begin

    def _begin(
        self, call: Any, args: Any, kwargs: Any, training: bool = True, name: str = ""
    ) -> int:
        if self._lost:
            return 0
        try:
            writing = writes(name)
            device = self._device
            entry = StepEntry(
                call,
                mapped(tuple(args), self._noted),
                mapped(kwargs, self._noted) if kwargs else {},
                torch.is_grad_enabled(),
                (device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)),
                training,
                writing,
                self._place(),
            )
            if writing and entry.args and isinstance(entry.args[0], Constant):
                written = entry.args[0]
                if not written.written and written.value.grad_fn is None:
                    needs = written.value.requires_grad
                    written.value = written.value.detach().clone().requires_grad_(needs)
                written.written = True
            if isinstance(call, str) and call != BACKWARD:
                entry.drawn = Drawn.now()
                entry.attributes, entry.buffers = self._changing.entered(self._model)
            elif draws(name):
                entry.drawn = Drawn.now()
        except Exception as error:  # a tape is not worth an error in the user's loop
            self._lose(str(error) or type(error).__name__)
            return 0
        if len(self._entries) >= CALLS:
            self._overflow()
        self._entries.append(entry)
        return len(self._entries) - 1

    def _end(self, number: int, out: Any, args: Any) -> None:
        if self._lost or number >= len(self._entries):
            return
        try:
            given = out is None and self._entries[number].writes
            for leaf, tensor in enumerate(leaves(args[0] if given else out)):
                written = bool(args) and tensor is args[0] and id(tensor) in self._known
                if id(tensor) not in self._names and not written:
                    self._known[id(tensor)] = weakref.ref(tensor), Ref(number, leaf)
                    if tensor.grad_fn is not None and tensor.dim() == 0:
                        self._loss = tensor
        except Exception as error:
            self._lose(str(error) or type(error).__name__)

    def _noted(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            if isinstance(leaf, nn.Module):
                raise NotPlayableError("a module is an argument of a torch function")
            return leaf
        key = id(leaf)
        if key in self._names:
            return Named(self._names[key])
        if key in self._gradients and self._parameters[self._gradients[key]].grad is leaf:
            return GradOf(self._gradients[key])
        known = self._known.get(key)
        if known is not None and known[0]() is leaf:
            return known[1]
        held = self._constants.get(key)
        if held is None:
            held = self._constants[key] = Constant(leaf)
        return held

    def _place(self) -> tuple[CodeType, int] | None:
        frame = sys._getframe(2)
        while frame is not None:
            code = frame.f_code
            user = self._user.get(code)
            if user is None:
                user = self._user[code] = _is_user(code.co_filename)
            if user:
                return code, frame.f_lineno
            frame = frame.f_back
        return None

    def _overflow(self) -> None:
        """Too many calls: those so far prepared data, unless the model was among them."""
        if any(isinstance(entry.call, str) for entry in self._entries):
            self._lose(f"more than {CALLS} calls in one step")
        self._entries, self._known, self._constants = [], {}, {}

    def _lose(self, why: str) -> None:
        self.forget()
        self._lost = why
