"""Buffers that look like weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Masks and tables of positions hold few numbers, or the same over and over.
_DISTINCT = 0.5
_SAMPLE = 4096
# Mean of drawn weights / their spread.
_CENTRED = 0.5


def drawn_buffers(model: nn.Module) -> list[str]:
    """Names of matrices that are buffers and look like a random draw of weights.

    Tables of zeros, a usual start, count too. Masks (few distinct numbers), counters and running
    statistics (one dimension) are left out.
    """
    return [
        name
        for name, buffer in model.named_buffers()
        if buffer.dim() >= 2 and buffer.is_floating_point() and _drawn(buffer.detach())
    ]


def drawn_attributes(model: nn.Module) -> list[str]:
    """Names of tensors that hang on modules as plain attributes and look like drawn weights."""
    found: list[str] = []
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            plain = (
                isinstance(value, Tensor) and not value.requires_grad and not name.startswith("_")
            )
            if plain and value.dim() >= 2 and value.is_floating_point() and _drawn(value.detach()):
                found.append(f"{path}.{name}" if path else name)
    return found


def _drawn(tensor: Tensor) -> bool:
    if tensor.is_meta or tensor.layout is not torch.strided or tensor.numel() < 4:
        return False
    if tensor.numel() == tensor.shape[-1]:  # a bias with a dimension for the batch
        return False
    values = tensor.reshape(-1)[:_SAMPLE].float()
    if not bool(torch.isfinite(values).all()):
        return False
    if not bool(values.any()):
        return True
    spread = float(values.std())
    distinct = torch.unique(values).numel()
    return (
        spread > 0
        and distinct > _DISTINCT * values.numel()
        and (abs(float(values.mean())) < _CENTRED * spread)
    )
