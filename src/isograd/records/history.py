"""Numbers over the steps of a training, and remedies compared by them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class History:
    """Learning speeds and loss over a training.

    Attributes:
        steps: Step numbers.
        layers: Names of the layers, first to last.
        speeds: Per layer, the norm of the batch-mean bias gradient at each of `steps`.
        loss: Loss at each of `steps`.
        metric: A score such as accuracy at each of `steps`, or empty.
        metric_name: Its name.
    """

    steps: tuple[int, ...]
    layers: tuple[str, ...]
    speeds: tuple[tuple[float, ...], ...]
    loss: tuple[float, ...] = ()
    metric: tuple[float, ...] = ()
    metric_name: str = ""

    def spread(self, at: int = 0) -> float:
        """Speed of the last layer / speed of the first, at position `at`."""
        first, last = self.speeds[0][at], self.speeds[-1][at]
        return last / first if first else float("inf")


@dataclass(frozen=True, slots=True)
class Remedy:
    """A change that was tried, and what was measured.

    Attributes:
        name: What was changed.
        spread: Learning speed of the last layer / the first, at the start of training.
        decades: Decades along the chain to the first layer's bias after the change.
        loss: Loss at the end of the short training.
        metric: Score at the end, in [0, 1] for an accuracy.
        chosen: True for the one that measured best.
        reason: Why it failed, or "".
    """

    name: str
    spread: float
    decades: float
    loss: float
    metric: float
    chosen: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Before and after.

    Attributes:
        metric_name: Name of the score.
        remedies: What was tried, in the order tried; the first is "no change".
        before: The training without a change.
        after: The training with the chosen remedy.
    """

    metric_name: str
    remedies: tuple[Remedy, ...]
    before: History
    after: History
