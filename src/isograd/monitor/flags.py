"""Whether some tensors are finite, asked without waiting for a device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from isograd.capture.look import is_finite

_norms: Any = torch._foreach_norm  # type: ignore[attr-defined]


class Flag:
    """An answer that is there, or on its way from a device.

    Args:
        answer: True if something is not finite; a tensor if it is still on a device.

    Attributes:
        known: True if it is there.
        bad: The answer, once it is known.
    """

    def __init__(self, answer: bool | Tensor) -> None:
        self.known = isinstance(answer, bool)
        self.bad = answer is True
        self._parts: list[Tensor] = []
        self._events: list[Any] = []
        if isinstance(answer, Tensor):
            self._send(answer)

    def also(self, other: Flag) -> None:
        """Be bad if another is."""
        self.known = self.known and other.known
        self.bad = self.bad or other.bad
        self._parts += other._parts
        self._events += other._events

    def arrived(self, wait: bool) -> bool:
        """True if the answer is there.

        Args:
            wait: Wait for it.
        """
        if not self.known:
            if not wait and not all(event.query() for event in self._events):
                return False
            for event in self._events:
                event.synchronize()
            self.bad = self.bad or any(bool(part) for part in self._parts)
            self.known = True
        return True

    def wait(self) -> bool:
        """The answer, waited for."""
        self.arrived(True)
        return self.bad

    def _send(self, answer: Tensor) -> None:
        if answer.device.type == "cuda":
            part = torch.empty((), dtype=torch.bool, pin_memory=True)
            part.copy_(answer, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
            self._parts.append(part)
            self._events.append(event)
        else:
            self.bad, self.known = bool(answer), True


def bad_among(tensors: Sequence[Tensor], scalars: Sequence[float | Tensor]) -> Flag:
    """Whether one of some tensors holds NaN or infinity.

    Args:
        tensors: Of any type and layout.
        scalars: More numbers.
    """
    host = [s for s in scalars if isinstance(s, float)]
    if any(not math.isfinite(s) for s in host):
        return Flag(True)
    dense = [t.detach() for t in tensors if t.is_floating_point() or t.is_complex()]
    dense += [s.detach() for s in scalars if isinstance(s, Tensor)]
    if not dense:
        return Flag(False)
    with torch.no_grad(), torch._C.DisableTorchFunction():
        device = dense[0].device
        plain = all(t.layout is torch.strided and t.device == device for t in dense)
        if not plain or any(t.is_complex() for t in dense):
            return Flag(not all(is_finite(t) for t in dense))
        if device.type == "cpu":
            # The cheapest pass that is not finite if an entry is not; it may overflow.
            if math.isfinite(torch.stack([n.float() for n in _norms(dense)]).sum().item()):
                return Flag(False)
            return Flag(not all(is_finite(t) for t in dense))
        large = torch.stack([n.float() for n in _norms(dense, math.inf)])
        return Flag(~torch.isfinite(large).all())
