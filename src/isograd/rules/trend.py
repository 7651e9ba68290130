"""How the numbers of a short training move: jumps, runaways, and what moved first."""

from __future__ import annotations

import math
from statistics import median

from isograd.records.training import Training

# A loss that is this many times the median of its past jumps; batches scatter by tens of percent.
JUMP = 5.0
# The same for what may have set it off.
MOVED = 4.0
# Steps of history that a jump is compared with.
PAST = 5
# A training whose loss had tripled before it broke was running away.
GREW = 3.0
# Steps before a break that tell whether all was calm.
CALM = 5


def runs_away(training: Training) -> bool:
    """True if the loss or the weights had grown far before a training broke."""
    finite = [v for v in training.loss if math.isfinite(v)]
    if len(finite) < 2:
        return False
    first = max(abs(v) for v in finite[: max(1, len(finite) // 3)])
    if abs(finite[-1]) > GREW * max(first, 1e-300) and abs(finite[-1]) > GREW * abs(finite[0]):
        return True
    return any(
        track.weight[-1] > 100 * track.weight[0] > 0 and math.isfinite(track.weight[-1])
        for track in training.parameters.values()
        if track.weight
    )


def largest_update(training: Training) -> float:
    """Largest norm of an update / norm of its weight."""
    ratios = [
        update / weight
        for track in training.parameters.values()
        for update, weight in zip(track.update, track.weight, strict=False)
        if weight > 0 and math.isfinite(update)
    ]
    return max(ratios, default=0.0)


def broke_in_calm(training: Training) -> bool:
    """True if a step was not finite although loss, weights and updates were calm up to it."""
    finite = [v for v in training.loss if math.isfinite(v)]
    broke = len(finite) < len(training.loss) or training.bad is not None
    if not training.stopped or not broke or len(finite) < CALM:
        return False
    grew = abs(finite[-1]) > GREW * max(abs(v) for v in finite[: max(1, len(finite) // 3)])
    return not grew and not runs_away(training) and largest_update(training) < 1


def jump(values: tuple[float, ...], factor: float) -> int | None:
    """First position, past the history, at which a value is `factor` times the past median."""
    for at in range(PAST, len(values)):
        usual = median(abs(v) for v in values[:at])
        if not math.isfinite(values[at]) or abs(values[at]) > factor * usual > 0:
            return at
    return None


def moved(values: tuple[float, ...], at: int, back: int = 2) -> float:
    """Largest of the values at `at` and up to `back` before it / median of those before them."""
    begin = max(1, at - back)
    past = [abs(v) for v in values[:begin]]
    now = [abs(v) for v in values[begin : at + 1]]
    if not past or not now or median(past) <= 0:
        return 1.0
    # A batch of few samples varies; only what it never showed before has moved.
    return max(now) / (max(past) if len(past) >= PAST else median(past))
