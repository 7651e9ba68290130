"""The cheap tier: norms of all gradients in one fused pass, at the optimizer's step.

On a device nothing waits: the norms stay there, and rows are written some steps later together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isograd.monitor.beat import Beat
from isograd.monitor.brisk import Brisk
from isograd.monitor.governor import Governor
from isograd.monitor.norms import stacked

# Rows that wait on a device before they are fetched.
_WAITING = 32
# Where in a row, the norms there, and the factor that a gradient scaler left on them, or None.
Piece = tuple[Any, Tensor, Tensor | None]


class Pulse:
    """Gradient norms of each step that the budget allows.

    Args:
        parameters: By name; the order is that of the rows.
        governor: Whose purses `light` and `row` pay.

    Attributes:
        light: True if norms are taken at this step.
    """

    def __init__(self, parameters: Mapping[str, Tensor], governor: Governor) -> None:
        self._governor = governor
        self._optimizers: dict[int, torch.optim.Optimizer] = {}
        self._owned: dict[int, tuple[list[Tensor], Any]] = {}
        self.light = True
        self._ordinary = False
        self._beat: Beat | None = None
        self._ready: list[tuple[Beat, list[Piece]]] = []
        self._pieces: list[Piece] = []
        self.renewed(parameters)

    def renewed(self, parameters: Mapping[str, Tensor]) -> None:
        """Follow these from now on; rows that wait must have been drained."""
        self._count = len(parameters)
        self._empty = np.full(self._count, np.nan)
        self._index = {id(p): at for at, p in enumerate(parameters.values())}
        for optimizer in self._optimizers.values():
            self._own(optimizer)

    def adopted(self, optimizer: torch.optim.Optimizer) -> None:
        """Follow one more optimizer."""
        self._optimizers[id(optimizer)] = optimizer
        self._own(optimizer)

    def left(self, optimizer: torch.optim.Optimizer) -> None:
        """Follow an optimizer no more."""
        self._optimizers.pop(id(optimizer), None)
        self._owned.pop(id(optimizer), None)

    def _own(self, optimizer: torch.optim.Optimizer) -> None:
        held = [p for group in optimizer.param_groups for p in group["params"]]
        own = [p for p in held if id(p) in self._index]
        at = [self._index[id(p)] for p in own]
        complete = at == list(range(self._count))
        self._owned[id(optimizer)] = own, (slice(None) if complete else np.array(at, dtype=int))

    def begin_step(self, step: int, loss: Tensor | float | None, rate: float) -> None:
        """A step begins."""
        self._beat = Beat(step, loss, rate, self._empty, self.light)
        self._pieces = []

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Take the norms of the gradients that this optimizer is about to use."""
        if not self.light or self._beat is None:
            return
        owned, where = self._owned.get(id(optimizer), ((), slice(0, 0)))
        gradients = [gradient for p in owned if (gradient := p.grad) is not None]
        if len(gradients) < len(owned):
            there = [at for at, p in enumerate(owned) if p.grad is not None]
            where = (np.arange(self._count) if isinstance(where, slice) else where)[there]
        if gradients:
            # A fused optimizer divides by the loss scale itself.
            factor = getattr(optimizer, "grad_scale", None)
            factor = factor if isinstance(factor, Tensor) else None
            with torch.no_grad(), torch._C.DisableTorchFunction():
                taken = stacked(gradients)
                # Neither sparse nor too faint or large for single precision.
                self._ordinary = taken.dtype is torch.float32 and len(gradients) == len(owned)
                self._pieces.append((where, taken, None if factor is None else factor.clone()))

    def end_step(self) -> list[Beat]:
        """The step is over.

        Returns:
            Rows that are complete now, oldest first; none while they wait on a device.
        """
        beat, self._beat = self._beat, None
        if beat is None:
            return self.drain()
        self._ready.append((beat, self._pieces))
        waits = isinstance(beat.loss, Tensor) and not beat.loss.is_cpu
        for _, piece, _ in self._pieces:
            waits = waits or not piece.is_cpu
        return [] if waits and len(self._ready) < _WAITING else self.drain()

    def brisk(self) -> Brisk | None:
        """Means to take the next rows together; None if the latest one was out of the ordinary."""
        if len(self._owned) != 1 or not self._ordinary:
            return None
        owned, where = next(iter(self._owned.values()))
        return Brisk(owned, where, self._count) if owned else None

    def odd(self) -> None:
        """One pass could not take the latest gradients: the next are taken with care."""
        self._ordinary = False

    @property
    def nothing(self) -> np.ndarray:
        """Norms of a step of which none were taken."""
        return self._empty

    def add(self, beats: list[Beat]) -> None:
        """Rows that were taken together."""
        self._ready += [(beat, []) for beat in beats]

    def plan(self) -> None:
        """Decide whether norms are taken at the next step."""
        self.light = self._governor.due("light")

    def drain(self) -> list[Beat]:
        """All rows that wait, fetched now."""
        ready, self._ready = self._ready, []
        for beat, pieces in ready:
            parts = [
                (where, _values(piece) if factor is None else _values(piece) / float(factor))
                for where, piece, factor in pieces
            ]
            if len(parts) == 1 and isinstance(parts[0][0], slice):
                beat.norms = parts[0][1]
            elif parts:
                beat.norms = beat.norms.copy()
                for where, values in parts:
                    beat.norms[where] = values
            beat.loss = None if beat.loss is None else float(beat.loss)
            if beat.skipped or beat.refused is not False:
                beat.skipped, beat.refused = int(beat.skipped), bool(beat.refused)
            beat.raw = beat.norms
            if beat.clips and beat.measured:
                beat.raw = self._unclipped(beat)
                beat.clips = []
        return [beat for beat, _ in ready]

    def _unclipped(self, beat: Beat) -> np.ndarray:
        raw = beat.norms.copy()
        for clip in beat.clips:
            at = [self._index[id(p)] for p in clip.tensors if id(p) in self._index]
            if clip.norms is not None:
                own = [i for i, p in enumerate(clip.tensors) if id(p) in self._index]
                raw[at] = clip.norms.cpu().numpy()[own]
                continue
            kept = clip.kept()
            with np.errstate(divide="ignore", invalid="ignore"):
                raw[at] = raw[at] / kept
            raw[at] = np.where(np.isnan(raw[at]) & ~np.isnan(beat.norms[at]), np.inf, raw[at])
        return raw

    @property
    def beat(self) -> Beat | None:
        """The step in hand."""
        return self._beat


def _values(piece: Tensor) -> np.ndarray:
    return piece.cpu().numpy().astype(np.float64)
