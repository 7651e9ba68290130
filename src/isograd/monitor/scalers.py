"""Gradient scalers of the user's loop: their scale stays as it is, and their factor is known.

A training step often closes over a `GradScaler`. It is no part of the model that is copied, so
what a short training does to it is undone afterwards.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from isograd.monitor.scaling import Scaling

_SCALER = torch.amp.GradScaler


def _loud(error: Exception) -> None:
    """A check has no training to spare: an error of our own is raised."""
    raise error


class Factors(Scaling):
    """Follows scalers and notes by which factor they multiply the loss.

    Args:
        by_hand: Factor of a loss that no scaler multiplies.

    Attributes:
        seen: Factor of each loss that a scaler multiplied.
    """

    def __init__(self, by_hand: float = 1.0) -> None:
        super().__init__([], _loud)
        self._by_hand = by_hand
        self.seen: list[float] = []

    def true_loss(self, root: Any) -> Any:
        """The loss behind a scaled one; the factor is noted."""
        loss = super().true_loss(root)
        if loss is root:
            return root if self._by_hand == 1 else root.detach() / self._by_hand
        if isinstance(loss, Tensor) and float(loss) != 0:
            self.seen.append(float(root.detach()) / float(loss))
        return loss

    def value(self, root: Any) -> float:
        """The loss behind a root, as a number."""
        return float(self.true_loss(root).detach())


@contextmanager
def followed_scalers(by_hand: float = 1.0) -> Iterator[Factors]:
    """Follow every scaler inside; afterwards each is as it was when it was first used.

    Args:
        by_hand: As in `Factors`.
    """
    factors = Factors(by_hand)
    kept: dict[int, tuple[Any, dict[str, Any]]] = {}
    original = _SCALER.scale

    @functools.wraps(original)
    def scale(self: Any, outputs: Any) -> Any:
        if id(self) not in kept:
            kept[id(self)] = self, _state(self)
        return original(self, outputs)

    _SCALER.scale = scale  # type: ignore[method-assign]
    factors.open()
    try:
        yield factors
    finally:
        factors.close()
        if _SCALER.scale is scale:
            _SCALER.scale = original  # type: ignore[method-assign]
        for scaler, state in kept.values():
            vars(scaler).update(state)


def _state(scaler: Any) -> dict[str, Any]:
    """A scaler's attributes; tensors that are changed in place are copied."""
    return {
        name: value.clone() if isinstance(value, Tensor) else copy.copy(value)
        for name, value in vars(scaler).items()
    }
