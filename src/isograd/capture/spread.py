"""How much a tensor differs between samples, between positions and between features.

A layer whose output is the same for every sample has lost the input; tokens that are all alike
have collapsed to one. A corner of the tensor is enough to see it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from isograd.capture.norms import Rows, Slot

# Corner that is looked at: samples, positions, features.
_SAMPLES, _POSITIONS, _FEATURES = 32, 16, 128
_DATA_ROWS = 256


class Spreads:
    """Spreads of the tensors of one forward pass."""

    def __init__(self) -> None:
        self._rows = Rows(_spread_rows)
        self._columns = Rows(_column_rows)

    def add(self, tensor: Tensor) -> Slot | None:
        """Queue a tensor `[samples, ...]`; its slot holds `(between, tokens)` after `finish`.

        Returns:
            None if there are fewer than two samples.
        """
        if tensor.dim() < 2 or len(tensor) < 2 or tensor.is_complex():
            return None
        if tensor.dim() == 3:
            corner = tensor[_even(len(tensor), _SAMPLES), :_POSITIONS, :_FEATURES]
        else:
            corner = tensor[_even(len(tensor), _SAMPLES)].flatten(1)
            corner = corner[:, None, _even(corner.shape[1], _FEATURES)]
        return self._rows.add(corner.clone())

    def columns(self, tensor: Tensor) -> Slot | None:
        """Queue data whose last dimension holds features; its slot holds largest / median RMS."""
        if tensor.dim() not in (2, 3) or tensor.shape[-1] < 3 or tensor.is_complex():
            return None
        rows = tensor.reshape(-1, tensor.shape[-1])
        return self._columns.add(rows[_even(len(rows), _DATA_ROWS)].clone())

    def finish(self) -> None:
        """Fill every slot."""
        self._rows.flush()
        self._columns.flush()


def _even(length: int, wanted: int) -> slice:
    return slice(None, None, max(1, -(-length // wanted)))


def _spread_rows(stack: Tensor) -> Sequence[tuple[float | None, float | None]]:
    wide = _scaled(stack)
    whole = wide.square().sum((1, 2, 3))
    between = (wide - wide.mean(1, keepdim=True)).square().sum((1, 2, 3))
    tokens = (wide - wide.mean(2, keepdim=True)).square().sum((1, 2, 3))
    single = stack.shape[2] < 2
    rows: list[tuple[float | None, float | None]] = []
    for total, b, t in zip(whole.tolist(), between.tolist(), tokens.tolist(), strict=True):
        if not 0 < total < float("inf"):
            rows.append((None, None))
        else:
            rows.append(((b / total) ** 0.5, None if single else (t / total) ** 0.5))
    return rows


def _column_rows(stack: Tensor) -> Sequence[float | None]:
    sizes = _scaled(stack).square().mean(1).sqrt()
    rows: list[float | None] = []
    for largest, usual in zip(sizes.amax(1).tolist(), sizes.median(1).values.tolist(), strict=True):
        rows.append(largest / usual if 0 < usual < float("inf") else None)
    return rows


def _scaled(stack: Tensor) -> Tensor:
    """In float32 at least, with the largest entry 1, so that squares stay in range."""
    wide = stack if stack.dtype in (torch.float32, torch.float64) else stack.float()
    dims = tuple(range(1, wide.dim()))
    return wide / wide.abs().amax(dims, keepdim=True).clamp_min(torch.finfo(wide.dtype).tiny)
