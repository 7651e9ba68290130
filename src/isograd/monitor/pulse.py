"""The cheap tier: norms of all gradients in one fused pass, at the optimizer's step.

On a device nothing waits: the norms stay there, and rows are written some steps later together.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isograd.monitor.governor import Governor
from isograd.monitor.norms import fused_norms, norm

# Rows that wait on a device before they are fetched.
_WAITING = 32
_COARSE = frozenset((torch.float16, torch.bfloat16))


@dataclass(slots=True)
class Beat:
    """One step of the cheap tier.

    Attributes:
        step: Number of the step.
        loss: On the device until it is fetched; None if it is not known.
        rate: Learning rate.
        norms: Per parameter, what the optimizer saw, float64 [parameters]; NaN where there is
            none, infinite where it is not finite.
        measured: False if only the loss was noted.
        clipped: Norm of the whole gradient before clipping, if a clipping call told it.
        scale: Loss scale, or NaN.
        skipped: Steps that a gradient scaler skipped so far.
    """

    step: int
    loss: Tensor | float | None
    rate: float
    norms: np.ndarray
    measured: bool = False
    clipped: Tensor | float | None = None
    scale: float = float("nan")
    skipped: int = 0

    def total(self) -> float:
        """Norm of the whole gradient; NaN if it was not measured."""
        if not self.measured:
            return math.nan
        known = self.norms[~np.isnan(self.norms)]
        largest = float(known.max(initial=0.0))
        if not 0 < largest < math.inf:
            return largest
        return largest * float(np.sqrt(np.square(known / largest).sum()))


class Pulse:
    """Gradient norms of each step that the budget allows.

    Args:
        parameters: By name; the order is that of the rows.
        governor: Whose purses `light` and `row` pay.

    Attributes:
        light: True if norms are taken at this step.
    """

    def __init__(self, parameters: Mapping[str, Tensor], governor: Governor) -> None:
        self._parameters = list(parameters.values())
        self._index = {id(p): at for at, p in enumerate(self._parameters)}
        self._governor = governor
        self._owned: dict[int, tuple[list[Tensor], Any]] = {}
        self.light = True
        self._beat: Beat | None = None
        self._ready: list[tuple[Beat, list[tuple[Any, Tensor]]]] = []
        self._pieces: list[tuple[Any, Tensor]] = []
        self._price = 0.0

    def adopted(self, optimizer: torch.optim.Optimizer) -> None:
        """Follow one more optimizer, or one whose parameters have changed."""
        held = [p for group in optimizer.param_groups for p in group["params"]]
        own = [p for p in held if id(p) in self._index]
        at = [self._index[id(p)] for p in own]
        whole = at == list(range(len(self._parameters)))
        self._owned[id(optimizer)] = own, (slice(None) if whole else np.array(at, dtype=int))

    def begin_step(self, step: int, loss: Tensor | float | None, rate: float) -> None:
        """A step begins."""
        empty = np.full(len(self._parameters), np.nan)
        self._beat = Beat(step, loss, rate, empty, self.light)
        self._pieces = []

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Take the norms of the gradients that this optimizer is about to use."""
        if not self.light or self._beat is None:
            return
        begin = time.perf_counter()
        owned, where = self._owned.get(id(optimizer), ((), slice(0, 0)))
        gradients = [p.grad for p in owned]
        with torch.no_grad(), torch._C.DisableTorchFunction():
            self._pieces.append((where, _stacked(gradients)))
        took = time.perf_counter() - begin
        self._price += took
        self._governor.spend("light", took)

    def end_step(self) -> list[Beat]:
        """The step is over.

        Returns:
            Rows that are complete now, oldest first; none while they wait on a device.
        """
        beat, self._beat = self._beat, None
        if beat is None:
            return []
        self._ready.append((beat, self._pieces))
        waits = any(piece.device.type != "cpu" for _, piece in self._pieces) or (
            isinstance(beat.loss, Tensor) and beat.loss.device.type != "cpu"
        )
        return [] if waits and len(self._ready) < _WAITING else self.drain()

    def plan(self) -> None:
        """Decide whether norms are taken at the next step."""
        self.light = self._governor.due("light")

    def took(self) -> float:
        """Seconds that norms took since the last call."""
        took, self._price = self._price, 0.0
        return took

    def drain(self) -> list[Beat]:
        """All rows that wait, fetched now."""
        ready, self._ready = self._ready, []
        for beat, pieces in ready:
            for where, piece in pieces:
                beat.norms[where] = piece.cpu().numpy()
            beat.loss = None if beat.loss is None else float(beat.loss)
            beat.clipped = None if beat.clipped is None else float(beat.clipped)
        return [beat for beat, _ in ready]

    @property
    def beat(self) -> Beat | None:
        """The step in hand."""
        return self._beat


def _stacked(gradients: Sequence[Tensor | None]) -> Tensor:
    """Norm of each gradient as one tensor; NaN where there is none."""
    present = [g for g in gradients if g is not None]
    taken = _fused(present)
    if taken is None:
        # A sum of squares leaves single precision before its root does.
        values = [math.nan if g is None else norm(g) for g in gradients]
        lost = [g is not None and math.isnan(v) for g, v in zip(gradients, values, strict=True)]
        values = [math.inf if bad else v for v, bad in zip(values, lost, strict=True)]
        return torch.tensor(values, dtype=torch.float64)
    if len(present) == len(gradients):
        return taken
    out = torch.full((len(gradients),), math.nan, dtype=taken.dtype, device=taken.device)
    out[[i for i, g in enumerate(gradients) if g is not None]] = taken
    return out


def _fused(gradients: list[Tensor]) -> Tensor | None:
    """Norms in one pass; None where they have to be taken one by one."""
    try:
        taken = torch.stack(fused_norms(gradients))
    except RuntimeError:  # nothing there, sparse, several devices or several types
        return None
    if type(taken) is not Tensor or taken.dtype in _COARSE:
        return None
    if taken.device.type != "cpu":
        return taken.nan_to_num(nan=math.inf, posinf=math.inf)
    return taken if math.isfinite(taken.sum().item()) else None
