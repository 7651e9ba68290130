"""Arguments that a loss function refuses: class indices without a class, logits as probabilities.

Torch raises on them (and a GPU stops with a device assertion), so that nothing could be measured.
A probe measures with the nearest class or probability instead, and says so.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

LOSSES = ("cross_entropy", "nll_loss")
PROBABILITY = "binary_cross_entropy"


def accepted(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments that a loss function accepts, the nearest to those given.

    Args:
        name: Of the loss function.
        args: Positional arguments.
        kwargs: Keyword arguments.
    """
    if name in LOSSES:
        return within(args, kwargs) or (args, kwargs)
    if name != PROBABILITY:
        return args, kwargs
    given = args[0] if args else kwargs.get("input")
    if not isinstance(given, Tensor) or not bool(((given < 0) | (given > 1)).any()):
        return args, kwargs
    if args:
        return (given.clamp(0, 1), *args[1:]), kwargs
    return args, kwargs | {"input": given.clamp(0, 1)}


def within(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Arguments with every class index moved into range; None if they all are.

    Args:
        args: Positional arguments of a loss function of `LOSSES`.
        kwargs: Keyword arguments.
    """
    given = dict(zip(("input", "target"), args, strict=False)) | kwargs
    logits, target = given.get("input"), given.get("target")
    if not isinstance(logits, Tensor) or not isinstance(target, Tensor) or logits.dim() == 0:
        return None
    if target.dtype != torch.int64 or target.numel() == 0:
        return None
    classes = logits.shape[1 if logits.dim() > 1 else 0]
    outside = _outside(target, classes, kwargs)
    if not bool(outside.any()):
        return None
    moved = torch.where(outside, target.clamp(0, classes - 1), target)
    if "target" in kwargs:
        return args, kwargs | {"target": moved}
    return (args[0], moved, *args[2:]), kwargs


def outside_share(target: Tensor, classes: int, kwargs: dict[str, Any]) -> float:
    """Share of class indices that there is no class for, ignored ones left out."""
    return float(_outside(target, classes, kwargs).float().mean())


def _outside(target: Tensor, classes: int, kwargs: dict[str, Any]) -> Tensor:
    ignored = target == kwargs.get("ignore_index", -100)
    return ((target < 0) | (target >= classes)) & ~ignored
