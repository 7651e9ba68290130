"""A map of trainability: what was measured over depth and weight scale, beside the theory."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from isograd.records import codec
from isograd.records.codec import SCHEMA, decode

Axis = Literal["sigma_w", "learning_rate"]
Floats = NDArray[np.float64]
# A net of this success or more counts as trainable: half of what there is to gain.
TRAINABLE = 0.5
# A net trains up to about 6 depth scales of the correlation (Schoenholz et al., 2017).
DEPTH_SCALES = 6.0
# A correlation of fewer scales says nothing.
_FEWEST = 5
_ARRAYS = ("gain_decades", "success", "loss_start", "loss_end", "rate")


@dataclass(frozen=True, slots=True)
class TheoryPoint:
    """What the mean field says about one weight scale.

    Attributes:
        scale: `sigma_w`.
        phase: `ordered`, `critical`, `chaotic` or `undefined`.
        xi_c: Depth scale of the correlation of two inputs, in layers; None without a fixed point.
        xi_grad: Depth scale of the mean squared gradient; negative where it grows. None where
            there is no variance to take it at.
        kind: Kind of the fixed point of the variance, as the theory names it.
    """

    scale: float
    phase: str
    xi_c: float | None
    xi_grad: float | None
    kind: str

    @property
    def limit(self) -> float | None:
        """Depth to which a net trains: 6 xi_c; 6 |xi_grad| where there is no xi_c.

        >>> TheoryPoint(1.0, "ordered", 10.0, 5.0, "stable").limit
        60.0
        >>> TheoryPoint(2.0, "chaotic", None, -2.0, "none: diverges").limit
        12.0
        """
        scale = self.xi_c if self.xi_c is not None else self.xi_grad
        return None if scale is None else DEPTH_SCALES * abs(scale)


@dataclass(frozen=True, slots=True)
class Theory:
    """The theory's line over a map.

    Attributes:
        points: By rising scale, at the map's scales and between them.
        critical: Weight scale of the edge of chaos; None if there is none, see `text`.
        text: The theory's sentence about the edge.
    """

    points: tuple[TheoryPoint, ...]
    critical: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Side:
    """How the line follows the measured edge in one phase.

    Attributes:
        phase: `ordered` or `chaotic`.
        correlation: Of the logarithms of the line and of the depth that trains, both cut to the
            depths of the map; NaN for fewer than 5 scales or where one of them does not change.
        ratio: Median of the depth that trains over the line, where both are known.
        scales: Number of scales.
    """

    phase: str
    correlation: float
    ratio: float
    scales: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well the theory's line follows the edge of what trained.

    Attributes:
        right: Share of the measured cells on the right side of the line: success 0.5 or more
            exactly where the depth is at most the line.
        cells: Their number.
        sides: For each phase; the line's factor of 6 need not be the same in both.
    """

    right: float
    cells: int
    sides: tuple[Side, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """A cell that has no training success, or no number, and why.

    Attributes:
        depth: Number of hidden layers.
        scale: Value on the other axis.
        seed: Number of the draw.
        stage: `build`, `gain` or `training`.
        reason: One line.
    """

    depth: int
    scale: float
    seed: int
    stage: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Trainability:
    """A map of trainability; arrays have shape `[depths, scales]`, NaN where nothing is known.

    Attributes:
        axis: What `scales` are.
        depths: Numbers of hidden layers, rising. `[depths]`, integer.
        scales: Values on the other axis, rising. `[scales]`.
        gain_decades: log10 of the gradient's norm at the first over that at the last hidden
            layer before training; median of the seeds. Negative: it vanishes going backward.
        success: Training success in [0, 1], mean of the seeds; `measure` says of what.
        loss_start: Loss before training, mean of the seeds.
        loss_end: Loss after the steps, mean of the seeds; NaN if one diverged.
        rate: Learning rate used, median of the seeds.
        seeds: Number of seeds measured. `[depths, scales]`, integer.
        wanted: Number of seeds wanted in each cell.
        failures: Cells without a number, and why.
        theory: The line, or None for a model that the theory does not know.
        task: What was trained, on which data.
        measure: What success means.
        settings: What the map was made with.
        stopped: Why it is not complete, or "".
    """

    axis: Axis
    depths: NDArray[np.int64]
    scales: Floats
    gain_decades: Floats
    success: Floats
    loss_start: Floats
    loss_end: Floats
    rate: Floats
    seeds: NDArray[np.int64]
    wanted: int
    failures: tuple[Failure, ...] = ()
    theory: Theory | None = None
    task: str = ""
    measure: str = ""
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    stopped: str = ""

    @property
    def measured(self) -> int:
        """Number of cells with at least one seed."""
        return int(np.count_nonzero(self.seeds))

    def limits(self) -> Floats:
        """The theory's depth limit at each scale. `[scales]`, NaN where it has no number."""
        points = self.theory.points if self.theory is not None else ()
        if self.axis == "learning_rate":  # one weight scale for the whole map
            limit = points[0].limit if points else None
            return np.full(self.scales.size, math.nan if limit is None else limit)
        at = {point.scale: point.limit for point in points}
        found = (at.get(scale) for scale in self.scales.tolist())
        return np.array([math.nan if limit is None else limit for limit in found])

    def trainable_depths(self) -> Floats:
        """The depth at each scale to which nets train. `[scales]`.

        Where success falls through 0.5, going deeper, between two depths of the grid in
        proportion. 0 if the shallowest net does not train, infinite if the deepest still does,
        NaN if an unknown cell comes first.
        """
        return np.array([_falls(self.depths, column) for column in self.success.T])

    def agreement(self) -> Agreement | None:
        """How well the theory's line follows the edge of what trained; None without a line."""
        limits, found = self.limits(), self.trainable_depths()
        known = ~np.isnan(limits)
        if not known.any():
            return None
        cells = np.isfinite(self.success) & known[None, :]
        inside = self.depths[:, None] <= limits[None, :]
        wrong = ((self.success >= TRAINABLE) != inside) & cells
        count = int(np.count_nonzero(cells))
        right = 1 - int(np.count_nonzero(wrong)) / max(1, count)
        phases = {point.scale: point.phase for point in self.theory.points} if self.theory else {}
        named = np.array([phases.get(scale, "") for scale in self.scales.tolist()])
        sides: list[Side] = []
        for phase in ("ordered", "chaotic"):
            here = known & ~np.isnan(found) & (named == phase)
            if here.any():
                sides.append(self._side(phase, limits[here], found[here]))
        return Agreement(right, count, tuple(sides))

    def _side(self, phase: str, limits: Floats, found: Floats) -> Side:
        low, high = float(self.depths[0]), float(self.depths[-1])
        x, y = np.log(np.clip(limits, low, high)), np.log(np.clip(found, low, high))
        flat = x.size < _FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0
        r: Any = math.nan if flat else np.corrcoef(x, y)[0, 1]
        seen = (found > 0) & np.isfinite(found) & np.isfinite(limits)
        ratio = float(np.median(found[seen] / limits[seen])) if seen.any() else math.nan
        return Side(phase, float(r), ratio, int(x.size))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; arrays are nested lists, NaN is the string "nan"."""
        plain: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name in ("depths", "scales", "seeds", *_ARRAYS):
            plain[name] = plain[name].tolist()
        return codec.encode(_Plain(plain))["data"] | {"schema": SCHEMA}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Trainability:
        """Read what `to_dict` made.

        Raises:
            ValueError: If it has another schema version.
        """
        if data.get("schema") != SCHEMA:
            raise ValueError(
                f"data has schema version {data.get('schema')!r}; this version reads {SCHEMA}."
            )
        known = {f.name for f in dataclasses.fields(cls)}
        values = {name: value for name, value in data.items() if name in known}
        for name in ("scales", *_ARRAYS):
            values[name] = np.array(values[name], dtype=np.float64)
        for name in ("depths", "seeds"):
            values[name] = np.array(values[name], dtype=np.int64)
        values["failures"] = tuple(
            decode(Failure, {"schema": SCHEMA, **item}) for item in values.get("failures", ())
        )
        line = values.get("theory")
        values["theory"] = None if line is None else decode(Theory, {"schema": SCHEMA, **line})
        return cls(**values)


@dataclass(frozen=True, slots=True)
class _Plain:
    """What the codec takes."""

    data: dict[str, Any]


def _falls(depths: NDArray[np.int64], success: Floats) -> float:
    above = 0.0
    before = math.nan
    for depth, value in zip(depths.tolist(), success.tolist(), strict=True):
        if math.isnan(value):
            return math.nan
        if value < TRAINABLE:
            if math.isnan(before):
                return 0.0
            return above + (depth - above) * (before - TRAINABLE) / (before - value)
        above, before = float(depth), value
    return math.inf
