"""Copy on write for the user's tensors.

Parameters are too large to copy before every measurement, and a step hardly ever writes to
them. `WriteWatch` is told of every torch call before it runs and copies a storage only when
the call could change it, or hands out memory that torch does not see any more (NumPy, a raw
pointer). What it cannot see: writes by code that never passes through torch's Python functions,
such as a C++ optimizer or a DLPack capsule. The version counters show most of those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.nn import functional

# What a call may do to memory it was given.
#   none    nothing, unless a keyword says so
#   first   writes to its first argument (or, if all are keywords, to any)
#   any     writes to any argument
Reach = Literal["none", "first", "any"]

_KEYWORDS = frozenset(("out", "inplace", "max_norm"))
_PLAIN_TENSORS = frozenset((Tensor, torch.nn.Parameter))

# In-place operators; `__index__`, `__init__`, `__invert__` and `__iter__` look alike.
_OPERATORS = frozenset(
    f"__i{name}__"
    for name in (
        *("add", "sub", "mul", "matmul", "div", "truediv", "floordiv", "mod", "pow"),
        *("and", "or", "xor", "lshift", "rshift"),
    )
)
_LEAKS = frozenset(
    (
        *("numpy", "__array__", "__dlpack__", "data_ptr"),
        *("storage", "untyped_storage", "_typed_storage"),
    )
)
# End in an underscore, yet leave the values alone.
_HARMLESS = frozenset(("requires_grad_", "detach_", "rename_", "retain_grad_"))
_SETTERS = frozenset(("data", "real", "imag"))
_LEAKING_GETTERS = frozenset(("__cuda_array_interface__", "__array_interface__"))

_storage_address: Callable[[Tensor], int] = cast(Any, torch._C)._storage_address
_reaches: dict[Any, Reach] = {}


def reach(func: Callable[..., Any]) -> Reach:
    """What a torch function may write to.

    Args:
        func: The function as `__torch_function__` receives it.

    Returns:
        `none`, `first` or `any`; see the top of this file.

    >>> reach(torch.Tensor.add_), reach(torch.Tensor.add)
    ('first', 'none')
    """
    name = getattr(func, "__name__", "")
    if name in ("__get__", "__set__"):
        attribute = getattr(func, "__self__", None)
        attribute_name = getattr(attribute, "__name__", None) or getattr(
            getattr(attribute, "fget", None), "__name__", ""
        )
        known = _SETTERS if name == "__set__" else _LEAKING_GETTERS
        return "first" if attribute_name in known else "none"
    if isinstance(func, torch._ops.OpOverload | torch._ops.OpOverloadPacket):
        return "any" if _mutable(func) else "none"
    if name in _HARMLESS:
        return "none"
    if name in _LEAKS or name in _OPERATORS or name == "__setitem__":
        return "first"
    return "first" if name.endswith("_") and not name.endswith("__") else "none"


def _mutable(op: Any) -> bool:
    if isinstance(op, torch._ops.OpOverload):
        return op._schema.is_mutable
    return any(getattr(op, overload)._schema.is_mutable for overload in op.overloads())


def local(tensor: Tensor) -> Tensor:
    """The tensor itself; of a DTensor the part that lies on this rank."""
    if type(tensor) in _PLAIN_TENSORS:
        return tensor
    return getattr(tensor, "_local_tensor", tensor)


def address(tensor: Tensor) -> int | None:
    """Identity of the memory behind a tensor, or None if it has none of its own.

    Two tensors with the same address see each other's writes. An address is only unique
    while one of the tensors is alive.
    """
    try:
        return _storage_address(local(tensor))
    except (RuntimeError, NotImplementedError):
        return None  # sparse, a functorch wrapper, a compiler's tensor


def as_bytes(tensor: Tensor) -> Tensor:
    """The whole storage of a tensor as a vector of bytes that shares its memory."""
    tensor = local(tensor)
    empty = torch.empty(0, dtype=torch.uint8, device=tensor.device)
    return empty.set_(tensor.untyped_storage())  # type: ignore[arg-type]


def _bits(tensor: Tensor) -> Tensor:
    return tensor.resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)


class WriteWatch:
    """Copies a watched storage just before the first call that could write to it.

    Args:
        tensors: Tensors whose memory is watched. The watch keeps them alive, so pass
            detached aliases where the user may give a tensor new memory.

    Attributes:
        saved: Address to the bytes before the first write.
        renormed: Addresses written by `max_norm` of an embedding, and by nothing else.
    """

    __slots__ = ("_owners", "_tensors", "_written", "renormed", "saved")

    def __init__(self, tensors: Sequence[Tensor]):
        self._tensors = tensors
        self._owners: dict[int, Tensor] | None = None
        self._written: set[int] = set()
        self.saved: dict[int, Tensor] = {}
        self.renormed: set[int] = set()

    def before_call(
        self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any] | None
    ) -> None:
        """Tell the watch that a torch function is about to run.

        Call it from `__torch_function__`, where torch functions are not intercepted again.

        Args:
            func: The function as intercepted.
            args: Its positional arguments.
            kwargs: Its keyword arguments, or None.
        """
        kind = _reaches.get(func)
        if kind is None:
            kind = _reaches[func] = reach(func)
        if kind != "none":
            self._protect(
                args[:1] if kind == "first" and args else (*args, *(kwargs or {}).values())
            )
        elif kwargs and not _KEYWORDS.isdisjoint(kwargs):
            self._protect_keywords(func, args, kwargs)

    def covers(self, tensor: Tensor) -> bool:
        """True if the memory of a watched tensor was copied before the first write."""
        return bool(self.saved) and address(tensor) in self.saved

    def differs(self, tensor: Tensor) -> bool:
        """True if a watched tensor has other bits than on entry. Ask before `restore`.

        Args:
            tensor: One of the watched tensors, of which `covers` is true.
        """
        before = self.saved[address(tensor)]  # type: ignore[index]
        now = as_bytes(tensor)
        if now.numel() != before.numel():
            return True
        if torch.equal(now, before):
            return False
        tensor = local(tensor)
        whole = before[: before.numel() - before.numel() % tensor.element_size()]
        mine = whole.view(tensor.dtype).as_strided(
            tensor.size(), tensor.stride(), tensor.storage_offset()
        )
        return not torch.equal(_bits(mine), _bits(tensor))

    def restore(self) -> None:
        """Put back every storage that was copied and differs."""
        for key, before in self.saved.items():
            owner = (self._owners or {})[key]
            storage = owner.untyped_storage()
            if storage.nbytes() != before.numel():
                storage.resize_(before.numel())
            now = as_bytes(owner)
            if not torch.equal(now, before):
                now.copy_(before)

    def _protect_keywords(
        self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
    ) -> None:
        if kwargs.get("out") is not None:
            self._protect((kwargs["out"],))
        if kwargs.get("inplace"):
            self._protect(args[:1] if args else kwargs.values())
        if kwargs.get("max_norm") is not None:
            renorms = func is functional.embedding or func is functional.embedding_bag
            self._protect((*args, *kwargs.values()), renorm=renorms)

    def _protect(self, values: Iterable[Any], renorm: bool = False) -> None:
        owners = self._owners
        if owners is None:
            owners = self._owners = self._index()
        for value in values:
            if isinstance(value, Tensor):
                key = address(value)
                if key in owners:
                    self._save(key, owners[key], renorm)
            elif isinstance(value, list | tuple):
                self._protect(value, renorm)

    def _save(self, key: int, owner: Tensor, renorm: bool) -> None:
        if key not in self.saved:
            with torch.no_grad():
                self.saved[key] = as_bytes(owner).clone()
        if renorm and key not in self._written:
            self.renormed.add(key)
        else:
            self._written.add(key)
            self.renormed.discard(key)

    def _index(self) -> dict[int, Tensor]:
        owners: dict[int, Tensor] = {}
        for tensor in self._tensors:
            key = address(tensor)
            if key is not None:
                owners.setdefault(key, local(tensor))
        return owners
