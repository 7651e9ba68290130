"""Writes a tape of somebody else's training loop, for its first few batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from isograd.capture import modes
from isograd.monitor import module_calls
from isograd.monitor.tape import (
    NOT_NOTED,
    Constant,
    Entry,
    Named,
    NotPlayableError,
    Ref,
    Tape,
    leaves,
    mapped,
    needed,
)

# Batches kept, and how much data: enough that fifty steps do not learn them by heart.
BATCHES = 16
BYTES = 64 * 2**20
# A loop that does more than this between two backward passes is no training step.
CALLS = 5000

_WRITES = frozenset(
    "__setitem__ __iadd__ __isub__ __imul__ __itruediv__ __ifloordiv__ __imod__ __ipow__ "
    "__iand__ __ior__ __ixor__".split()
)


class Taping(TorchFunctionMode):
    """Notes what leads to each loss until it has enough.

    Args:
        model: Whose module calls are entries; what happens inside of them is not noted.

    Attributes:
        tapes: One for each backward pass seen.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.tapes: list[Tape] = []
        self._paths = {id(module): path for path, module in model.named_modules()}
        named = (*model.named_parameters(), *model.named_buffers())
        self._names = {id(tensor): name for name, tensor in named}
        self._device = next((t.device.type for _, t in named), "cpu")
        self._entries: list[Entry] = []
        self._known: dict[int, Ref] = {}
        self._kept: list[Any] = []  # ids stay unique as long as the objects live
        self._constants: dict[int, Constant] = {}
        self._depth = 0
        self._on = False
        self._lost = True
        self._bytes = 0

    def open(self) -> None:
        """Begin to listen."""
        self._on = True
        self._lost = False
        module_calls.listen(self)
        self.__enter__()
        modes.entered(self)

    def close(self) -> None:
        """Stop; modes that were entered on top of ours stay."""
        if not self._on:
            return
        self._on = False
        self.forget()
        module_calls.leave(self)
        modes.remove(self)

    def cut(self, loss: Any) -> bool:
        """A backward pass begins at `loss`: what led to it is a tape.

        Returns:
            False if enough was seen.
        """
        try:
            ref = self._known.get(id(loss))
            if ref is None:
                raise NotPlayableError
            entries = needed(self._entries, ref)
            size = sum(c.value.nbytes for c in _constants(entries))
            self._bytes += size
            self.tapes.append(Tape(entries, ref, size))
            for constant in _constants(entries):  # the user may write to his batch later
                constant.value = constant.value.detach().clone()
        except NotPlayableError:
            return False
        finally:
            self.forget()
        if len(self.tapes) >= BATCHES or self._bytes >= BYTES:
            self._lose()
        return len(self.tapes) < BATCHES and self._bytes < BYTES

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one call and note it."""
        kwargs = kwargs or {}
        if self._lost or self._depth or _name(func) in NOT_NOTED:
            return func(*args, **kwargs)
        number = self._begin(func, args, kwargs)
        out = func(*args, **kwargs)
        self._end(number, out, args)
        return out

    def enter(self, module: nn.Module, args: Any, kwargs: Any) -> int | None:
        """A module is called: if it is one of the model's, that is one entry."""
        if self._lost or self._depth or id(module) not in self._paths:
            return None
        number = self._begin(self._paths[id(module)], args, kwargs, module.training)
        self._depth += 1
        return number

    def leave(self, token: int, out: Any, fine: bool) -> None:
        """It returned, or raised."""
        self._depth -= 1
        if fine:
            self._end(token, out, ())

    def forget(self) -> None:
        """A step begins: what came before leads to no later loss."""
        self._entries = []
        self._known = {}
        self._kept = []
        self._constants = {}
        self._lost = not self._on

    def _begin(self, call: Any, args: Any, kwargs: Any, training: bool = True) -> int:
        try:
            name = "" if isinstance(call, str) else _name(call)
            device = self._device
            entry = Entry(
                call,
                mapped(tuple(args), self._noted),
                mapped(kwargs, self._noted),
                torch.is_grad_enabled(),
                (device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)),
                training,
                name in _WRITES or (name.endswith("_") and not name.endswith("__")),
            )
        except Exception:  # a tape is not worth an error in the user's loop
            self._lose()
            return 0
        self._entries.append(entry)
        if len(self._entries) > CALLS:
            self._lose()
        return len(self._entries) - 1

    def _end(self, number: int, out: Any, args: Any) -> None:
        if self._lost:
            return
        try:
            writes = self._entries[number].writes
            for leaf, tensor in enumerate(leaves(args[0] if out is None and writes else out)):
                written = bool(args) and tensor is args[0] and id(tensor) in self._known
                if id(tensor) not in self._names and not written:
                    self._known[id(tensor)] = Ref(number, leaf)
                    self._kept.append(tensor)
        except Exception:
            self._lose()

    def _noted(self, leaf: Any) -> Any:
        if isinstance(leaf, nn.Module):
            raise NotPlayableError
        if not isinstance(leaf, Tensor):
            return leaf
        key = id(leaf)
        if key in self._names:
            return Named(self._names[key])
        if key in self._known:
            ref = self._known[key]
            if leaf.grad_fn is not None and not self._entries[ref.entry].grad:
                raise NotPlayableError  # made inside a custom function with its own backward
            return ref
        if key not in self._constants:
            self._constants[key] = Constant(leaf)
            self._kept.append(leaf)
        return self._constants[key]

    def _lose(self) -> None:
        self.forget()
        self._lost = True


def _constants(entries: dict[int, Entry]) -> list[Constant]:
    found: dict[int, Constant] = {}

    def note(leaf: Any) -> None:
        if isinstance(leaf, Constant):
            found[id(leaf)] = leaf

    for entry in entries.values():
        mapped((entry.args, entry.kwargs), note)
    if any(constant.value.grad_fn is not None for constant in found.values()):
        raise NotPlayableError  # a history that was not seen makes it wrong
    return list(found.values())


def _name(func: Any) -> str:
    name = getattr(func, "__name__", "")
    if name == "__get__":
        getter = getattr(getattr(func, "__self__", None), "__name__", "")
        return getter if getter in ("T", "mT", "H", "mH", "real", "imag", "data") else "item"
    return name
