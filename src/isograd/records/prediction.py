"""What theory says about the gradient product, beside what is measured, at five levels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from isograd.records import codec
from isograd.records.chain import decades
from isograd.records.op import Kind

LEVELS = ("L0", "L1", "L2", "L3", "L4")
# What a difference between two neighbouring levels means, by code and sign of the difference.
READINGS = {
    ("L0", "L1"): (
        "the weights or the signals are not as the init rule makes them (they have moved, or "
        "another rule drew them), and pass less gradient",
        "the weights or the signals are not as the init rule makes them (they have moved, or "
        "another rule drew them), and pass more gradient",
    ),
    ("L1", "L2"): (
        "units are dead, saturated or not Gaussian: the real ops pass less than their moments say",
        "units are not Gaussian: the real ops pass more than their moments say",
    ),
    ("L2", "L3"): (
        "layers work against each other: what one passes, the next one drops",
        "layers are aligned: what one passes best, the next one passes best too",
    ),
    ("L3", "L4"): (
        "the loss points along directions that the net passes less than an average one",
        "the loss points along the top directions of the Jacobian",
    ),
}
_UNTRAINED = "if the weights are untrained, look for a bug or a structural op "
AT_INIT = {
    ("L0", "L1"): "the weights have the variance of their init rule: the data has other moments "
    "than the map gives",
    ("L1", "L2"): _UNTRAINED + "(padding, pooling, masking, a gradient hook)",
    ("L2", "L3"): _UNTRAINED + "(tied weights, pooling, masking, correlated batch)",
    ("L3", "L4"): "if the weights are untrained: samples of the batch are correlated, or an op "
    "that is no average over directions (pooling, masking) comes first",
}


@dataclass(frozen=True, slots=True)
class Level:
    """One number for the gain of one cut.

    Attributes:
        gain: Total norm of the gradient leaving / arriving, amplitude.
        method: How it was obtained.
        error: Standard error of `gain` relative to it; 0.0 where there is none.
    """

    gain: float
    method: str
    error: float = 0.0

    @property
    def decades(self) -> float:
        """Log10 of the gain."""
        return decades(self.gain)


@dataclass(frozen=True, slots=True)
class Cut:
    """One link of the chain, with its gain by each level.

    Attributes:
        op: Name of the op (for a segment: of the op where it begins).
        module: Path of its module.
        source: Its source line, or None.
        kind: What it contributes.
        levels: `L0` to `L4`; None where there is no number.
        reasons: Why there is none, by level.
        segment: True where paths fork and add inside.
    """

    op: str
    module: str
    source: str | None
    kind: Kind
    levels: dict[str, Level | None]
    reasons: dict[str, str]
    segment: bool = False

    def decades(self, level: str) -> float:
        """Decades of a level, or of the next one that has a number; nan if none has.

        Example:
            >>> cut = Cut("f", "", None, "other", {"L0": None, "L2": Level(0.1, "probe")}, {})
            >>> cut.decades("L0")
            -1.0
        """
        for name in LEVELS[LEVELS.index(level) :]:
            found = self.levels.get(name)
            if found is not None:
                return found.decades
        return math.nan


@dataclass(frozen=True, slots=True)
class Place:
    """A cut that a gap comes from.

    Attributes:
        op: Name of the op.
        module: Path of its module.
        source: Its source line, or None.
        decades: Its part of the gap.
    """

    op: str
    module: str
    source: str | None
    decades: float


@dataclass(frozen=True, slots=True)
class Gap:
    """Difference of the totals of two neighbouring levels.

    Attributes:
        levels: The two, the nearer to theory first.
        decades: Total of the second minus total of the first.
        low: Lower end of what chance allows, in decades.
        high: Upper end.
        places: Cuts it comes from, the largest first; inside the error bar only cuts that
            differ on their own while the sum does not.
        at_init: Whether all weights have the variance of an init rule.
    """

    levels: tuple[str, str]
    decades: float
    low: float
    high: float
    places: tuple[Place, ...] = ()
    at_init: bool = False

    @property
    def inside(self) -> bool:
        """Whether it lies inside the error bar, so that it says nothing."""
        return self.low <= self.decades <= self.high

    @property
    def reading(self) -> tuple[str, ...]:
        """What it means, one phrase each; empty inside the error bar."""
        if self.inside or math.isnan(self.decades):
            return ()
        said = READINGS[self.levels][self.decades > 0]
        if not self.at_init:
            return (said,)
        # Untouched weights cannot have moved; the rest keeps its meaning, with where to look.
        return (
            (AT_INIT[self.levels],) if self.levels == ("L0", "L1") else (said, AT_INIT[self.levels])
        )


@dataclass(frozen=True, slots=True)
class Rate:
    """Gain per time step of a recurrent layer, theory beside measurement.

    Attributes:
        module: Path of the module.
        layer: Layer in a stacked module, from 0.
        direction: `forward` or `reverse`.
        steps: Number of measured gains.
        predicted: Gain per step by theory; None if there is none.
        method: Which theory.
        measured: Geometric mean of the measured gains; nan if one is 0.
    """

    module: str
    layer: int
    direction: str
    steps: int
    predicted: float | None
    method: str
    measured: float


@dataclass(frozen=True, slots=True)
class ErrorBar:
    """How far one draw of the weights may lie from the prediction.

    Attributes:
        low: Lower end in decades of the gain.
        high: Upper end.
        level: Probability that a draw lies inside.
        widths: Width of each weight layer that was counted.
        activation: The activation it is for.
    """

    low: float
    high: float
    level: float
    widths: tuple[int, ...]
    activation: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """Theory beside measurement along the main chain.

    All gains are of the total norm of the gradient. They run from the model's output to the
    output of the first layer: neither the loss (a vector, no matrix) nor the last factor, the
    sum over the batch that makes the parameter's gradient, is among them.

    Attributes:
        parameter: Name of the parameter at the end of the chain.
        cuts: From the output to the first layer.
        totals: Decades over all cuts by level. A cut without a number counts with its next
            level, so it adds nothing to the gap between the two.
        errors: Standard error of each total, in decades.
        error_bar: Scatter over draws of the weights; None if no weight layer is crossed.
        gaps: One for each pair of neighbouring levels.
        unknown: Ops without theory, each as `name (module)`; they are measured only.
        rules: Init rule of each weight, in words.
        moved: Weights that have not the variance of any rule; `rules` has their class's default.
        at_init: Whether all weights have the variance of an init rule.
        recurrent: Gains per time step.
        probes: Number of noise vectors behind L2 and L3.
        notes: What could not be done, one sentence each.
    """

    parameter: str
    cuts: tuple[Cut, ...]
    totals: dict[str, float]
    errors: dict[str, float]
    error_bar: ErrorBar | None
    gaps: tuple[Gap, ...]
    unknown: tuple[str, ...]
    rules: dict[str, str]
    at_init: bool
    moved: tuple[str, ...] = ()
    recurrent: tuple[Rate, ...] = ()
    probes: int = 0
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, with the readings of the gaps."""
        data = codec.encode(self)
        for made, gap in zip(data["gaps"], self.gaps, strict=True):
            made.update(inside=gap.inside, reading=list(gap.reading))
        return data
