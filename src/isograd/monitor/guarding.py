"""The optional guard: a step whose gradient is not finite is not taken."""

from __future__ import annotations

from typing import Any

import torch

from isograd.errors import TrainingStoppedError

GUARDS = ("skip", "stop")


class Guard:
    """Looks at the gradients before an optimizer uses them.

    On the CPU a step is left out by taking the gradients away. On another device nothing waits
    for the answer: gradients are set to zero there, so momentum and weight decay still act.

    Args:
        mode: "skip" or "stop".

    Attributes:
        skipped: Steps left out; on a device they are not counted.

    Raises:
        ValueError: If the mode is another.
    """

    def __init__(self, mode: str) -> None:
        if mode not in GUARDS:
            raise ValueError(f'`guard` must be "skip", "stop" or None; got {mode!r}.')
        self._mode = mode
        self.skipped = 0

    def before_step(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Act on the gradients of an optimizer.

        Raises:
            TrainingStoppedError: If one is not finite and the mode is "stop".
        """
        held: list[Any] = [p for group in optimizer.param_groups for p in group["params"]]
        held = [p for p in held if p.grad is not None]
        if not held:
            return
        fine = torch.stack([torch.isfinite(_values(p.grad)).all() for p in held]).all()
        if fine.device.type == "cpu" or self._mode == "stop":
            if bool(fine):
                return
            if self._mode == "stop":
                raise TrainingStoppedError(f"the gradient is not finite at step {step}")
            self.skipped += 1
            for parameter in held:
                parameter.grad = None
            return
        for parameter in held:
            zero = torch.zeros((), dtype=parameter.grad.dtype, device=parameter.grad.device)
            torch.where(fine, parameter.grad, zero, out=parameter.grad)


def _values(gradient: Any) -> Any:
    return gradient.coalesce().values() if gradient.layout is not torch.strided else gradient
