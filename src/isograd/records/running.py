"""Running statistics of batch norms, beside those of the batches that a training saw last."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Running:
    """What a training leaves for evaluation.

    Attributes:
        gaps: By module, RMS over channels of running mean - batch mean, in deviations of the
            batch.
        momentum: By module, the share of the way that one step goes.
        loss: Loss with the running statistics instead of the batch's, all else as in training.
    """

    gaps: dict[str, float]
    momentum: dict[str, float]
    loss: float
