"""Norms that neither underflow nor overflow, cheaply.

A float32 norm squares its entries: 1e-25 squared is 0 and 1e25 squared is infinite. Large
tensors are measured at once with the fast kernel, whose result is kept only where it can be
trusted; small tensors wait and are stacked, so that a thousand of them cost a few kernels.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

# Above this many entries a kernel costs more than its call, so waiting gains nothing.
SMALL = 16_384
# Waiting tensors are held at most up to this many entries (1 MB in float32).
_PENDING = 1 << 18
# Sums of squares are carried on in float64 after this many entries.
_CHUNK = 1 << 20
# A float32 norm inside this band cannot have lost more than rounding to squares.
_SAFE_LOW, _SAFE_HIGH = 1e-15, 1e15


class Slot:
    """Where a deferred result will stand."""

    __slots__ = ("value",)

    def __init__(self, value: Any = None) -> None:
        self.value = value


class Rows:
    """Defers one reduction over many small tensors and runs it on stacks of equal shape.

    Args:
        reduce: Maps a stack `[k, ...]` to `k` results.
    """

    def __init__(self, reduce: Callable[[Tensor], Sequence[Any]]) -> None:
        self._reduce = reduce
        self._pending: dict[Any, list[tuple[Slot, Tensor]]] = defaultdict(list)
        self._size = 0

    def add(self, tensor: Tensor) -> Slot:
        """Queue a tensor; its slot is filled by `flush`."""
        slot = Slot()
        self._pending[tensor.shape, tensor.dtype, tensor.device].append((slot, tensor))
        self._size += tensor.numel()
        if self._size > _PENDING:
            self.flush()
        return slot

    def flush(self) -> None:
        """Fill every slot handed out so far."""
        for group in self._pending.values():
            stack = torch.stack([tensor for _, tensor in group])
            for (slot, _), value in zip(group, self._reduce(stack), strict=True):
                slot.value = value
        self._pending.clear()
        self._size = 0


class NormLedger:
    """Norm and number of non-finite entries of every gradient handed to it."""

    def __init__(self) -> None:
        self._rows = Rows(_norm_rows)
        self._late: list[tuple[Slot, Tensor, Tensor]] = []

    def add(self, tensor: Tensor) -> Slot:
        """Measure a tensor; `slot.value` is `(norm, nonfinite)` after `finish`."""
        tensor = dense(tensor)
        if tensor.numel() <= SMALL:
            return self._rows.add(tensor.reshape(-1).clone())
        if tensor.device.type == "cpu":
            return Slot(norm_and_nonfinite(tensor))
        slot = Slot()
        wide = torch.float32 if tensor.device.type == "mps" else torch.float64
        norm = torch.linalg.vector_norm(tensor, dtype=_wide(tensor.dtype, wide))
        self._late.append((slot, norm, (~torch.isfinite(tensor)).sum()))
        return slot

    def finish(self) -> None:
        """Fill all slots; one transfer for each device."""
        self._rows.flush()
        for slot, norm, bad in self._late:
            slot.value = (float(norm), int(bad))
        self._late.clear()


def dense(tensor: Tensor) -> Tensor:
    """Values of a tensor without its graph: real pairs if complex, stored values if sparse."""
    tensor = plain(tensor.detach())
    if tensor.layout is not torch.strided:
        tensor = tensor.coalesce().values() if tensor.is_sparse else tensor.to_dense()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    return tensor


def plain(tensor: Tensor) -> Tensor:
    """An ordinary tensor with the entries of a nested, distributed or user-made one."""
    if tensor.is_nested:
        return torch.cat([plain(part.detach()).reshape(-1) for part in tensor.unbind()])
    if type(tensor) in (Tensor, torch.nn.Parameter):
        return tensor
    if hasattr(tensor, "full_tensor"):  # a DTensor: every rank takes part
        return cast(Any, tensor).full_tensor()
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None:
        return tensor.as_subclass(Tensor)
    return plain(getattr(tensor, flatten()[0][0]))


def flat_view(tensor: Tensor) -> Tensor | None:
    """All entries in memory order, or None if that takes a copy."""
    if tensor.is_contiguous():
        return tensor.view(-1)
    order = sorted(range(tensor.dim()), key=lambda d: (-tensor.stride(d), -tensor.shape[d]))
    dense_order = tensor.permute(order)
    return dense_order.view(-1) if dense_order.is_contiguous() else None


def norm_and_nonfinite(tensor: Tensor) -> tuple[float, int]:
    """Euclidean norm and number of non-finite entries of a real, dense tensor.

    Returns:
        The norm is NaN or inf if an entry is; the count is exact.
    """
    if not tensor.is_floating_point():
        tensor = tensor.double()
    norm = _fast_norm(tensor)
    if _SAFE_LOW < norm < _SAFE_HIGH:
        return norm, 0
    bad = tensor.numel() - int(torch.isfinite(tensor).sum())
    return (scaled_norm(tensor) if not bad else _nonfinite_norm(tensor)), bad


def _fast_norm(tensor: Tensor) -> float:
    """Norm by the fastest kernel; trust it only inside the safe band."""
    if tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64):
        flat = flat_view(tensor)
        if flat is not None:
            # A dot product runs in BLAS, twice as fast as a norm; chunks keep it exact.
            return math.sqrt(sum(float(part.dot(part)) for part in flat.split(_CHUNK)))
    narrow = tensor.dtype in (torch.float16, torch.bfloat16)
    return float(torch.linalg.vector_norm(tensor, dtype=torch.float32 if narrow else None))


def scaled_norm(tensor: Tensor) -> float:
    """`m * norm(x / m)` in float64 with m the largest absolute entry, a chunk at a time."""
    flat = tensor.reshape(-1)
    if flat.numel() == 0:
        return 0.0
    largest = float(flat.abs().max())
    if largest == 0 or not math.isfinite(largest):
        return largest
    total = 0.0
    for chunk in flat.split(_CHUNK):
        total += float((chunk.double() / largest).square().sum())
    return largest * math.sqrt(total)


def combined(norms: Sequence[float]) -> float:
    """Root of the sum of squares of norms, without underflow."""
    return math.hypot(*norms) if norms else 0.0


def _nonfinite_norm(tensor: Tensor) -> float:
    return math.nan if bool(torch.isnan(tensor).any()) else math.inf


def row_norms(stack: Tensor) -> list[float]:
    """Norm of each row of `[k, n]`; trusted in the tensor's own precision where that is safe."""
    narrow = stack.dtype in (torch.float16, torch.bfloat16)
    fast = torch.linalg.vector_norm(stack, dim=1, dtype=torch.float32 if narrow else None)
    norms = fast.tolist()
    for row, norm in enumerate(norms):
        if not _SAFE_LOW < norm < _SAFE_HIGH and stack.shape[1]:
            norms[row] = norm_and_nonfinite(stack[row])[0]
    return norms


def row_zero_fractions(stack: Tensor) -> list[float]:
    """Share of exact zeros in each row."""
    n = max(1, stack.shape[1])
    if stack.device.type == "cpu" and stack.dtype in (torch.float32, torch.float64):
        # Comparing in numpy is an order of magnitude faster than in torch on CPU.
        return [_zeros(row) / n for row in stack.numpy()]
    return [1 - nonzero / n for nonzero in torch.count_nonzero(stack, 1).tolist()]


def _zeros(row: np.ndarray) -> int:
    chunks = (row[i : i + _CHUNK] for i in range(0, len(row), _CHUNK))
    return sum(int(np.count_nonzero(chunk == 0)) for chunk in chunks)


def _norm_rows(stack: Tensor) -> list[tuple[float, int]]:
    return [
        (norm, 0)
        if math.isfinite(norm)
        else (norm, stack.shape[1] - int(torch.isfinite(stack[row]).sum()))
        for row, norm in enumerate(row_norms(stack))
    ]


def _wide(dtype: torch.dtype, wide: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else wide
