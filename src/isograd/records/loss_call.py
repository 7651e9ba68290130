"""What a loss function was called with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """Range and moments of a tensor's entries.

    Attributes:
        low: Smallest entry.
        high: Largest entry.
        mean: Arithmetic mean.
        std: Standard deviation; 0 for one entry.
        distinct: Number of distinct values, counted up to 1000.

    Beyond 4096 entries, all but `low` and `high` come from an even sample.
    """

    low: float
    high: float
    mean: float
    std: float
    distinct: int


@dataclass(frozen=True, slots=True)
class LossCall:
    """One call of a loss function, or the difference at the heart of a hand-written one.

    Attributes:
        op: Index of its op.
        name: `cross_entropy`, `mse_loss`, `sub`, ...
        input_shape: Shape of the prediction.
        target_shape: Shape of the target.
        prediction: Spread of the prediction.
        target: Spread of the target.
        integer_target: True for class indices.
        ignored_fraction: Share of targets equal to `ignore_index`.
        sums_to_one: True if the prediction is non-negative and sums to 1 over the class axis.
        upstream: Name of the op that made the prediction, views left out, such as `softmax`.
        source: Source line of the call.
        unreachable: Share of the targets outside the range of the activation that made the
            prediction.
        weight: Sum of the gradient that arrives at its result: 1 for a loss that is returned as
            it is, negative if it is maximised; None if nothing arrives.
    """

    op: int
    name: str
    input_shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    prediction: Spread
    target: Spread
    integer_target: bool = False
    ignored_fraction: float = 0.0
    sums_to_one: bool = False
    upstream: str = ""
    source: str | None = None
    weight: float | None = None
    unreachable: float = 0.0
