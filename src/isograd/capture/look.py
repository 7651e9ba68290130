"""What a tensor holds: its range, zeros, NaN and infinite entries."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from isograd.records.bad_step import TensorRange


def look(tensor: Tensor, name: str = "", held: str = "") -> TensorRange:
    """Range of a tensor's entries; one pass if all are finite.

    Real and imaginary parts of a complex tensor are entries of their own, of a sparse one only
    what it stores counts.

    Args:
        tensor: Of any layout and type.
        name: The name to note.
        held: Whose it is.
    """
    dtype = str(tensor.dtype).removeprefix("torch.")
    shape = tuple(map(int, tensor.shape))
    data = _entries(tensor)
    if data.numel() == 0 or data.dtype == torch.bool or data.device.type == "meta":
        return TensorRange(name, dtype, shape, held=held)
    low, high = (float(end) for end in torch.aminmax(data))
    if math.isfinite(low) and math.isfinite(high):
        zeros = data.numel() - int(torch.count_nonzero(data))
        return TensorRange(name, dtype, shape, low, high, zeros, held=held)
    nan = int(torch.isnan(data).sum())
    inf = int(torch.isposinf(data).sum())
    minus = int(torch.isneginf(data).sum())
    finite = data[torch.isfinite(data)]
    ends: tuple[float | None, ...] = (None, None)
    if finite.numel():
        ends = tuple(float(end) for end in torch.aminmax(finite))
    zeros = data.numel() - int(torch.count_nonzero(data))
    return TensorRange(name, dtype, shape, ends[0], ends[1], zeros, nan, inf, minus, held)


def can_hold(tensor: Any) -> bool:
    """True for a tensor whose type has NaN and infinity."""
    return isinstance(tensor, Tensor) and (tensor.is_floating_point() or tensor.is_complex())


def is_finite(tensor: Tensor) -> bool:
    """True if no stored entry is NaN or infinite."""
    data = _entries(tensor)
    if data.numel() == 0 or data.device.type == "meta":
        return True
    # The extremes are NaN if any entry is.
    low, high = torch.aminmax(data)
    return math.isfinite(float(low)) and math.isfinite(float(high))


def memory(tensor: Tensor) -> int:
    """Address of the memory behind a tensor, shared by all its views; 0 without one."""
    try:
        return _stored(tensor).untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        return 0


def covers(tensor: Tensor) -> bool:
    """True if a tensor is all there is in its memory."""
    stored = _stored(tensor)
    return stored.numel() * stored.element_size() >= stored.untyped_storage().nbytes()


def _stored(tensor: Tensor) -> Tensor:
    if hasattr(tensor, "to_local"):  # DTensor: this rank's part
        tensor = tensor.to_local()  # type: ignore[operator]
    if tensor.layout == torch.sparse_coo:
        return tensor._values()
    if tensor.layout != torch.strided:
        return tensor.values()
    return tensor


def _entries(tensor: Tensor) -> Tensor:
    data = _stored(tensor.detach())
    if data.is_complex():
        data = torch.view_as_real(data.resolve_conj())
    if data.dtype.is_floating_point and data.element_size() < 2:  # float8 has no comparison
        data = data.float()
    return data
