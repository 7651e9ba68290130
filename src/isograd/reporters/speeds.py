"""Learning speeds of the layers: which numbers are rounding noise, and what the ends compare to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median

from isograd.records.parameter import LayerSpeed
from isograd.records.snapshot import Snapshot
from isograd.reporters import numbers
from isograd.reporters.language import Say

# A bias whose gradient is zero by symmetry is left with rounding: this far below the other
# layers, and this far below the gradient that arrives at the layer's own output. Where the
# gradient vanishes, layers are as far below the others, but not below what arrives.
NOISE = 1e-6
CANCELLED = 1e-4
DISAGREE = 2.0  # factor between the last/first ratios of the two learning speeds
UNEQUAL = 5.0  # last/first; below, both measures say that the layers learn alike


@dataclass(frozen=True, slots=True)
class Speeds:
    """The table of learning speeds.

    Attributes:
        layers: In the order of execution.
        noise: Positions of layers whose per-sample RMS is rounding noise.
        cancelled: Positions of layers whose batch mean is.
        spread: What the last layer is to the first, in one sentence; or "".
        trap: Which of the two measures to believe, where they tell different stories; or "".
        notes: What `~0` means.
    """

    layers: tuple[LayerSpeed, ...]
    noise: frozenset[int]
    cancelled: frozenset[int]
    spread: str
    trap: str
    notes: tuple[str, ...]


def build(snapshot: Snapshot, say: Say) -> Speeds:
    """Compare the layers of a snapshot."""
    layers = snapshot.layers
    noise = rounding(snapshot)
    cancelled = noise | {
        i
        for i, s in enumerate(layers)
        if 0 < s.batch_mean < CANCELLED * s.per_sample_rms < math.inf
    }
    mean, each = _ends(layers, noise, cancelled)
    spread, trap = _compare(mean, each, say)
    notes: list[str] = []
    if noise:
        notes.append(
            say(
                "~0: rounding noise. The gradient of this layer's bias is zero by symmetry, as "
                "for a key in front of a softmax; its weight learns. It is left out of scale and "
                "comparison."
            )
        )
    if cancelled - noise:
        notes.append(
            say(
                "~0 as batch mean: rounding noise. The samples cancel by construction, as in "
                "front of a batch norm; the per-sample RMS holds."
            )
        )
    return Speeds(layers, noise, frozenset(cancelled), spread, trap, tuple(notes))


def rounding(snapshot: Snapshot) -> frozenset[int]:
    """Positions of the layers whose per-sample RMS is rounding noise."""
    speeds = [layer.per_sample_rms for layer in snapshot.layers]
    found: set[int] = set()
    for i, layer in enumerate(snapshot.layers):
        others = [s for j, s in enumerate(speeds) if j != i and 0 < s < math.inf]
        if not others or not 0 < speeds[i] < NOISE * median(others):
            continue
        arriving = snapshot.ops[layer.op_index].grad_norm
        if speeds[i] < CANCELLED * arriving < math.inf:
            found.add(i)
    return frozenset(found)


def _ends(
    layers: tuple[LayerSpeed, ...], noise: frozenset[int], cancelled: set[int] | frozenset[int]
) -> tuple[float, float]:
    """Last/first by batch mean and by per-sample RMS; nan where that says nothing."""
    kept = [i for i in range(len(layers)) if i not in noise]
    if len(kept) < 2:
        return math.nan, math.nan
    first, last = layers[kept[0]], layers[kept[-1]]
    mean = numbers.ratio(last.batch_mean, first.batch_mean)
    if kept[0] in cancelled or kept[-1] in cancelled:
        mean = math.nan
    each = numbers.ratio(last.per_sample_rms, first.per_sample_rms)
    return mean or math.nan, each or math.nan


def _compare(mean: float, each: float, say: Say) -> tuple[str, str]:
    if math.isnan(each):
        return "", ""
    if math.isnan(mean):
        return say("last/first layer: {each} by per-sample RMS", each=numbers.times(each)), ""
    values = {"mean": numbers.times(mean), "each": numbers.times(each)}
    apart = max(mean, each) / min(mean, each) > DISAGREE
    unequal = any(ratio > UNEQUAL or ratio < 1 / UNEQUAL for ratio in (mean, each))
    if not (apart and unequal):
        return say("last/first layer: {mean} by batch mean, {each} by per-sample RMS", **values), ""
    return "", say(
        "last/first layer: {mean} by batch mean, {each} by per-sample RMS. The batch mean cancels "
        "over samples that disagree, as in a net stuck at one constant output. Believe the "
        "per-sample RMS for whether signal reaches a layer, and the batch mean for what the next "
        "full-batch step will do.",
        **values,
    )
