"""The factor on the loss that keeps gradients inside the range of float16."""

from __future__ import annotations

import math

from isograd.rules.case import Case

# No weight of a loss is this large but a loss scaler's.
SCALED = 1024.0


def loss_scale(case: Case) -> float:
    """Factor on the loss in front of the backward pass: in the step, or by a scaler."""
    weight = max((call.weight or 0.0 for call in case.snapshot.losses), default=0.0)
    scale = case.training.loss_scale if case.training is not None else 1.0
    return max(weight, 1.0) * scale


def power_of_two(ratio: float) -> bool:
    """True for an exact power of two, as a loss scaler uses."""
    if ratio <= 0:
        return False
    power = math.log2(ratio)
    return abs(power - round(power)) < 1e-3
