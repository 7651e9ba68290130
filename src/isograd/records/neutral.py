"""A factor of the gradient product made neutral on the same batch: does the symptom go?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# What is made neutral.
Factor = Literal["activation", "normalization", "residual", "weight", "attention"]
# How.
Held = Literal["neutral", "typical"]


@dataclass(frozen=True, slots=True)
class Neutral:
    """The symptom with one kind of factor made neutral, beside the symptom as it is.

    The symptom is the number of decades that the gradient's norm changes by between the last
    hidden layer and the first; where an attention is named, between its output and its queries
    and keys.

    Attributes:
        factor: Which kind of factor.
        held: `neutral`: the factor passes on what arrives (a derivative of 1, sqrt(1/2) behind a
            rectifier, whose weights are drawn twice as large in square; a norm that hands the
            gradient through; additions that hand it to the skip path alone; weights rescaled to
            unit gain; logits of unit spread). `typical`: a constant of the factor's own root mean
            square, so that only its size is left and not which entries it passes.
        base: Decades as it stands.
        decades: Decades with the factor made neutral.
        ops: Number of ops, or of weights, that were made neutral.
        names: What they are called.
        where: Path of the attention whose queries and keys it is about, or "".
    """

    factor: Factor
    held: Held
    base: float
    decades: float
    ops: int
    names: tuple[str, ...] = ()
    where: str = ""

    @property
    def effect(self) -> float:
        """Decades that the factor causes: below 0 if it makes the gradient shrink."""
        return self.base - self.decades

    @property
    def share(self) -> float:
        """Part of the symptom that goes; 1 if all of it does, above 1 if it turns around."""
        return self.effect / self.base if self.base else 0.0
