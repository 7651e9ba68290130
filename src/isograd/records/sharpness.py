"""The largest curvature an optimizer meets, and the rate up to which its steps are stable."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sharpness:
    """Largest eigenvalue of the Hessian of one batch's loss, as the optimizer sees it.

    Attributes:
        value: The eigenvalue, of `P^-1/2 H P^-1/2`: P is 1 for SGD and the scale that an adaptive
            optimizer divides its steps by. Loss per squared unit of what it divides.
        limit: Rate times eigenvalue above which a step on a quadratic overshoots further each
            time: `2 + 2 momentum` for SGD, `(2 + 2 beta_1) / (1 - beta_1)` for Adam.
        rate: Largest learning rate of the groups.
        optimizer: Class name.
        error: Residual of the eigenvalue: some eigenvalue lies within it.
        products: Hessian-vector products that were taken.
        method: `double backward` or `differences`.
        steps: Steps of training before it was measured; 0 at the start.
        factor: By what the rate was multiplied in those steps.
    """

    value: float
    limit: float
    rate: float
    optimizer: str
    error: float = 0.0
    products: int = 0
    method: str = "double backward"
    steps: int = 0
    factor: float = 1.0

    @property
    def stable_rate(self) -> float:
        """Largest rate at which steps are stable; infinite where the loss curves nowhere up."""
        return self.limit / self.value if self.value > 0 else math.inf

    @property
    def product(self) -> float:
        """Rate times curvature; stable below `limit`."""
        return self.rate * self.value
