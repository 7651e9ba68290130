"""Where two runs of the same model part."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from isograd.records import codec


@dataclass(frozen=True, slots=True)
class Parting:
    """One number of two runs, `a` and `b`, over the steps that both recorded.

    Two questions are answered apart. Bits: from which step on are the numbers not the same? Noise:
    from which step on do they differ by more than each run changes by itself?

    Attributes:
        name: A parameter; "" for a number of the whole step.
        statistic: What was measured, such as `grad_norm` or `loss`.
        steps: Number of steps compared.
        identical: Number of those at which the bits are the same, wherever they lie.
        stretch: Number of those from the start up to the first difference.
        identical_through: Last step of the stretch from the start where all bits are the same;
            None if the first step differs already.
        first_different: First step where a bit differs; None if there is none.
        parts_at: Step from which on the difference is larger than the noise; None if it never is,
            or the noise could not be measured.
        resolution: Steps that `parts_at` may be off; the length of a window.
        unit: `decades`: differences are of log10; `value`: of the numbers, some being 0 or less.
        noise: Standard deviation that the difference of two window medians would have if both
            runs only followed their own trend with their own fluctuation, in `unit`. NaN if
            there are too few steps.
        size: `a - b` in `unit`, median over the first window that parts; NaN if none does.
        end: The same over the last window of all.
        note: Why the noise could not be measured, or "".
    """

    name: str
    statistic: str
    steps: int
    identical: int
    stretch: int
    identical_through: int | None
    first_different: int | None
    parts_at: int | None
    resolution: int
    unit: str
    noise: float
    size: float
    end: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Two runs beside each other.

    Attributes:
        a: Name of the first run.
        b: Name of the second.
        common: Number of steps that both recorded.
        first: First of them; -1 if there is none.
        last: Last of them; -1 if there is none.
        whole: Numbers of the whole step.
        layers: Numbers of the parameters.
        only_a: Parameters that only the first has.
        only_b: Parameters that only the second has.
        facts: Facts of the trainings that differ: name to the two values.
        threshold: Noises that a difference must reach in two windows in a row to count.
        false_alarm: Chance that any of the numbers is wrongly said to part, for normal noise.
    """

    a: str
    b: str
    common: int
    first: int
    last: int
    whole: tuple[Parting, ...] = ()
    layers: tuple[Parting, ...] = ()
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()
    facts: dict[str, tuple[Any, Any]] = field(default_factory=dict[str, tuple[Any, Any]])
    threshold: float = float("nan")
    false_alarm: float = 0.01

    @property
    def identical(self) -> bool:
        """True if all numbers compared have the same bits at all common steps."""
        numbers = (*self.whole, *self.layers)
        return bool(numbers) and all(each.first_different is None for each in numbers)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; non-finite numbers become the strings "nan", "inf", "-inf"."""
        return codec.encode(self)
