"""What a training loop did from batch to loss, written down so that a copy can do it again.

The loop is the user's and cannot be called. Its torch calls outside of the model are noted, with
the data they read, and each call of a module of the model is one entry; played back on a copy
they make the same loss from the copy's weights. Only what the loss depends on is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# Getters and queries that make no tensor.
NOT_NOTED = frozenset(
    "size dim stride numel nelement is_contiguous is_floating_point is_complex element_size item "
    "get_device __len__ __hash__ __format__ __repr__ __bool__ __int__ __float__ __index__ tolist "
    "storage_offset is_nonzero register_hook retain_grad requires_grad_ backward equal allclose "
    "is_signed is_pinned is_same_size is_inference is_conj is_neg data_ptr numpy".split()
)


class NotPlayableError(Exception):
    """The loss depends on something whose origin was not seen."""


@dataclass(frozen=True, slots=True)
class Ref:
    """A tensor that an earlier entry put out."""

    entry: int
    leaf: int


@dataclass(frozen=True, slots=True)
class Named:
    """A parameter or buffer of the model."""

    name: str


@dataclass(slots=True)
class Constant:
    """Data from outside: the batch.

    Attributes:
        value: The tensor.
        written: True if a call of the tape writes to it.
    """

    value: Tensor
    written: bool = False


@dataclass(slots=True)
class Entry:
    """One call.

    Attributes:
        call: The function, or the path of a module of the model.
        args: Its arguments with tensors replaced by `Ref`, `Named` and `Constant`.
        kwargs: The same.
        grad: Whether gradients were on.
        autocast: Device, type and switch of autocast.
        training: The module's mode.
        writes: True if the call writes to its first argument.
    """

    call: Callable[..., Any] | str
    args: Any
    kwargs: dict[str, Any]
    grad: bool
    autocast: tuple[str, Any, bool]
    training: bool = True
    writes: bool = False


@dataclass(slots=True)
class Tape:
    """The calls behind one loss, in order.

    Attributes:
        entries: By number.
        loss: What the last backward pass started from.
        bytes: Size of the data kept.
    """

    entries: dict[int, Entry]
    loss: Ref
    bytes: int = 0

    def play(self, model: nn.Module, generators: dict[int, torch.Generator]) -> Tensor:
        """The loss of this batch with the weights of `model`.

        Args:
            model: A copy of the model that was listened to.
            generators: Copies of the user's generators by id; missing ones are added.
        """
        state: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
        state.update(model.named_buffers(remove_duplicate=False))
        values: dict[int, list[Tensor]] = {}
        writes = any(entry.writes for entry in self.entries.values())

        def real(leaf: Any) -> Any:
            if isinstance(leaf, Ref):
                return values[leaf.entry][leaf.leaf]
            if isinstance(leaf, Named):
                return state[leaf.name]
            if isinstance(leaf, Constant):
                return leaf.value.clone() if writes else leaf.value
            if isinstance(leaf, torch.Generator):
                if id(leaf) not in generators:
                    generators[id(leaf)] = leaf.clone_state()
                return generators[id(leaf)]
            return leaf

        for number, entry in self.entries.items():
            call: Any = entry.call
            if isinstance(call, str):
                call = model.get_submodule(call)
                if call.training != entry.training:
                    call.train(entry.training)
            device, dtype, enabled = entry.autocast
            with (
                torch.set_grad_enabled(entry.grad),
                torch.autocast(device, dtype=dtype, enabled=enabled),
            ):
                args = mapped(entry.args, real)
                out = call(*args, **mapped(entry.kwargs, real))
            # `x[i] = y` returns nothing: what it wrote to is its result.
            values[number] = leaves(args[0] if out is None and entry.writes else out)
        return values[self.loss.entry][self.loss.leaf]


def mapped(tree: Any, change: Callable[[Any], Any]) -> Any:
    """A tree of lists, tuples and dicts with every other object replaced."""
    if type(tree) in (list, tuple):
        return type(tree)(mapped(item, change) for item in tree)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(mapped(item, change) for item in tree))
    if isinstance(tree, dict):
        items = {key: mapped(item, change) for key, item in tree.items()}
        if type(tree) is dict:
            return items
        copy = type(tree).__new__(type(tree))
        copy.update(items)
        return copy
    if isinstance(tree, slice):
        return slice(*(mapped(item, change) for item in (tree.start, tree.stop, tree.step)))
    return change(tree)


def leaves(tree: Any) -> list[Tensor]:
    """Tensors in what a call returned, always in the same order; attributes are looked into."""
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, dict):
        return [leaf for item in tree.values() for leaf in leaves(item)]
    if isinstance(tree, list | tuple):
        return [leaf for item in tree for leaf in leaves(item)]
    if isinstance(tree, torch.distributions.Distribution) or hasattr(tree, "__dataclass_fields__"):
        return [leaf for item in vars(tree).values() for leaf in leaves(item)]
    return []


def needed(entries: Sequence[Entry], loss: Ref) -> dict[int, Entry]:
    """The entries that a loss depends on."""
    wanted: dict[int, Entry] = {}
    stack = [loss.entry]
    writers: dict[int, list[int]] = {}
    for number, entry in enumerate(entries):
        if entry.writes and entry.args and isinstance(entry.args[0], Ref):
            writers.setdefault(entry.args[0].entry, []).append(number)
    while stack:
        number = stack.pop()
        if number in wanted:
            continue
        entry = entries[number]
        wanted[number] = entry
        stack.extend(writers.get(number, ()))
        found: list[Any] = []
        mapped((entry.args, entry.kwargs), found.append)
        stack.extend(leaf.entry for leaf in found if isinstance(leaf, Ref))
    return dict(sorted(wanted.items()))
