"""What an op reads and writes, from its schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# In-place ops whose old value does not matter.
_OVERWRITE = frozenset(
    "copy_ fill_ zero_ normal_ uniform_ random_ bernoulli_ exponential_ log_normal_ cauchy_ "
    "geometric_ _foreach_copy_ _foreach_zero_ eye_ set_ resize_".split()
)
# Read by a norm only if it does not compute them itself.
_RUNNING = frozenset(("running_mean", "running_var"))


@dataclass(frozen=True, slots=True)
class Signature:
    """How to read the calls of one op.

    Attributes:
        name: Name of the op without overload, such as `_foreach_add_`.
        names: Names of its arguments, positional first.
        written: Which of them it writes to.
        fresh: Which of those it writes without reading.
        view: True if it only looks at the same memory in another way.
        listed: True if it works on lists, element by element.
    """

    name: str
    names: tuple[str, ...]
    written: frozenset[str]
    fresh: frozenset[str]
    view: bool
    listed: bool

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Arguments of a call by name."""
        return {**dict(zip(self.names, args, strict=False)), **kwargs}

    def skipped(self, arguments: dict[str, Any]) -> frozenset[str]:
        """Arguments that are no inputs of this call."""
        if "running_mean" in arguments and arguments.get("training", arguments.get("train", True)):
            return self.fresh | _RUNNING
        return self.fresh


def signature(func: Any) -> Signature:
    """Signature of an overload."""
    schema = func._schema
    name = func.overloadpacket.__name__ if hasattr(func, "overloadpacket") else str(func)
    names = tuple(argument.name for argument in schema.arguments)
    writes = [a for a in schema.arguments if a.alias_info is not None and a.alias_info.is_write]
    written = frozenset(a.name for a in writes)
    fresh = frozenset(a.name for a in writes if a.is_out or name in _OVERWRITE)
    aliases = [r.alias_info for r in schema.returns]
    view = not written and bool(aliases) and all(alias is not None for alias in aliases)
    return Signature(
        name, names, written, fresh, view, name.startswith(("_foreach_", "_fused_", "_amp_foreach"))
    )


def tensors(value: Any) -> list[Tensor]:
    """Tensors in an argument or a result."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, list | tuple):
        return [item for item in value if isinstance(item, torch.Tensor)]
    return []


def element(value: Any, index: int, count: int) -> Any:
    """What a list op uses for its element number `index`."""
    if isinstance(value, list | tuple) and len(value) == count:
        return value[index]
    return value
