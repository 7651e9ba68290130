"""What a loss function was called with."""

from __future__ import annotations

import math
from dataclasses import dataclass

_BINARY = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
_ARITHMETIC = ("sub", "rsub", "mul", "rmul")
# Fewer targets do not tell their variance.
_MANY = 16


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
        ignored_fraction: Share of targets equal to `ignore_index`, or of a class of weight 0;
            unless it is 1, `target` describes the others.
        sums_to_one: True if the prediction is non-negative and sums to 1 over the class axis.
        weighted: Number of classes with a weight above 0; None if none were given.
        mass: Sum of the exponentials of an `nll_loss`'s input over the classes, which is 1 for
            log-probabilities; mean over samples, None for other losses.
        upstream: Name of the op that made the prediction, views left out, such as `softmax`.
        source: Source line of the call.
        reach: Interval of what the ops that made the prediction can put out; None if anything.
        unreachable: Share of the targets outside of it.
        outside: Share of class indices that there is no class for.
        target_is_input: True for class indices that are, entry by entry, those that an embedding of
            the model was called with.
        plain: True for the mean over all targets with equal weights.
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
    reach: tuple[float, float] | None = None
    unreachable: float = 0.0
    outside: float = 0.0
    plain: bool = True
    target_is_input: bool = False
    mass: float | None = None
    weighted: int | None = None

    @property
    def by_hand(self) -> bool:
        """True for arithmetic in place of a loss function."""
        return self.name.strip("_") in _ARITHMETIC

    @property
    def broadcast(self) -> bool:
        """True if (N, 1) meets (N,), so that every sample is combined with every target."""
        a, b = self.input_shape, self.target_shape
        if self.integer_target or len(a) == len(b) or 0 in (len(a), len(b)):
            return False
        longer, shorter = (a, b) if len(a) > len(b) else (b, a)
        return longer[-1] == 1 and shorter[-1] > 1 and longer[0] == shorter[0]

    @property
    def refused(self) -> bool:
        """True for arguments on which torch raises, so that no step can be taken."""
        low, high = self.prediction.low, self.prediction.high
        return self.outside > 0 or (self.name == _BINARY[0] and not (low >= 0 and high <= 1))

    def floor(self) -> float | None:
        """The least loss within `reach` of the prediction as logits; None where nothing is known.

        For C classes with logits no further apart than d it is ln(1 + (C - 1) exp(-d)).
        """
        if self.reach is None or not self.plain:
            return None
        low, high = self.reach
        if self.name == "cross_entropy" and self.integer_target and len(self.input_shape) > 1:
            return math.log1p((self.input_shape[1] - 1) * math.exp(low - high))
        if self.name == "binary_cross_entropy_with_logits":
            ones = min(1.0, max(0.0, self.target.mean))
            return ones * _softplus(-high) + (1 - ones) * _softplus(low)
        return None

    def constant(self) -> float | None:
        """What the best constant answer scores at most, for a loss that is returned as it is.

        ln(classes) for classes, ln 2 for a binary cross-entropy, for a mean squared error over 16
        targets or more their variance, two standard errors up; None for others.
        """
        if (
            not self.plain
            or self.weight is None
            or not math.isclose(self.weight, 1.0, rel_tol=0.01)
        ):
            return None
        count = math.prod(self.target_shape)
        if self.name in ("cross_entropy", "nll_loss") and self.integer_target:
            return math.log(self.input_shape[1]) if len(self.input_shape) > 1 else None
        if self.name in _BINARY and 0 <= self.target.low and self.target.high <= 1:
            return math.log(2)
        if self.name == "mse_loss" and count >= _MANY and self.target.std > 0:
            # Single batches know the variance of normal targets to sqrt(2 / count).
            return self.target.std**2 * (1 + 2 * math.sqrt(2 / count))
        return None


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))
