"""The factors of the gradient product, from the loss to one parameter."""

from __future__ import annotations

import math
from dataclasses import dataclass

from isograd.records.op import Kind


def decades(gain: float) -> float:
    """Log10 of a gain; -inf for a gain of 0, nan for nan.

    >>> decades(0.01)
    -2.0
    """
    if gain > 0:
        return math.log10(gain)
    return -math.inf if gain == 0 else math.nan


@dataclass(frozen=True, slots=True)
class SegmentTerm:
    """One path through a segment, at the place where the paths join again.

    Attributes:
        op: Name of the op the gradient came through.
        module: Path of its module.
        source: Its source line.
        norm: Norm of this path's gradient.
        skip: True if it came straight from where the segment begins (the identity path).
    """

    op: str
    module: str
    source: str | None
    norm: float
    skip: bool = False


@dataclass(frozen=True, slots=True)
class Segment:
    """What lies between two neighbours of a chain when paths fork: terms that add, not factors.

    Attributes:
        ops: Number of ops inside.
        terms: The gradients that are summed where the segment ends.
        cross: `norm**2 - sum(term.norm**2)`; 0 if the terms are orthogonal.
    """

    ops: int
    terms: tuple[SegmentTerm, ...]
    cross: float


@dataclass(frozen=True, slots=True)
class Link:
    """One factor of the product.

    Attributes:
        op: Name of the op (for a segment: of the op where it begins).
        module: Path of its module.
        source: Its source line, "file.py:42", or None.
        kind: What it contributes.
        norm: Norm of the gradient arriving.
        gain: Norm leaving / norm arriving; amplitude, dimensionless.
        decades: log10 of the gain.
        op_index: Index of the op in `Snapshot.ops`.
        segment: The forked paths it stands for, or None for a single op.
    """

    op: str
    module: str
    source: str | None
    kind: Kind
    norm: float
    gain: float
    decades: float
    op_index: int
    segment: Segment | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """Ops that every path from the loss to a parameter crosses, with their exact gains.

    Attributes:
        parameter: Name of the parameter.
        links: From the loss to the parameter.
        end_to_end: Norm of the parameter's gradient as autograd stored it / norm of the
            gradient at the loss (1).
        closure: |sum of log gains - log of `end_to_end`|, natural logarithm. Rounding error
            if everything was seen; larger if something was not.
        note: Which path it is, where a parameter has several and this is one of them.
    """

    parameter: str
    links: tuple[Link, ...]
    end_to_end: float
    closure: float
    note: str = ""

    @property
    def decades(self) -> float:
        """Log10 of the end-to-end gain."""
        return decades(self.end_to_end)
