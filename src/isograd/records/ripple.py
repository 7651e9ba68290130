"""How a small change of a parameter travels forward to the loss, and what a check of it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from isograd.records.chain import decades
from isograd.records.codec import decode, encode
from isograd.records.op import Kind

# How the change of an op's output was found:
#   forward     forward-mode automatic differentiation
#   difference  central differences of this op, as it has no forward-mode formula
#   run         central differences of the whole step
Method = Literal["forward", "difference", "run"]
Verdict = Literal["agrees", "disagrees", "kink", "unresolved", "frozen"]
Reason = Literal["backward", "cut", "hook"]


@dataclass(frozen=True, slots=True)
class RippleLink:
    """One op that the change reaches.

    Attributes:
        op: Name of the call, such as `linear`.
        module: Path of its module; "" outside.
        source: Its source line, "file.py:42", or None.
        norm_of_change: Norm of the change of its outputs per unit of parameter change.
        gain: That norm / norm of the change of all its inputs (the forward gain); NaN where the
            op was not seen to read a changed input.
        kind: What it contributes.
        shape: Shape of its first output.
        method: How the change was found.
    """

    op: str
    module: str
    source: str | None
    norm_of_change: float
    gain: float
    kind: Kind
    shape: tuple[int, ...]
    method: Method

    @property
    def decades(self) -> float:
        """Log10 of the forward gain.

        >>> RippleLink("tanh", "act", None, 0.5, 0.1, "activation", (8,), "forward").decades
        -1.0
        """
        return decades(self.gain)


@dataclass(frozen=True, slots=True)
class RippleEnd:
    """A call at which the change leaves the differentiable path (`detach`, `argmax`)."""

    op: str
    module: str
    source: str | None


@dataclass(frozen=True, slots=True)
class Check:
    """Gradient of one parameter against finite differences, in one direction.

    Attributes:
        parameter: Its name.
        gradient: Directional derivative by the gradient; None if it is frozen.
        finite_difference: The same by central differences, extrapolated to a step of 0.
        relative_error: |gradient - finite_difference| / the larger of the two; 0 if both are 0.
        uncertainty: Estimated error of the finite difference: truncation and rounding.
        eps: Step taken, relative to the norm of the parameter.
        verdict: `agrees`; `disagrees`; `kink` if they agree at points close by only, so that this
            point has no derivative; `unresolved` if the differences are too rough to tell;
            `frozen` if it was not compared.
    """

    parameter: str
    gradient: float | None
    finite_difference: float
    relative_error: float
    uncertainty: float
    eps: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Suspect:
    """A place that explains a gradient which is not the derivative.

    Attributes:
        op: Name of the call.
        module: Path of its module.
        source: Its source line.
        reason: `backward`: its backward is not the derivative of its forward; `cut`: a path ends
            here for the gradient, but not for the loss; `hook`: a hook may change gradients.
        relative_error: For `backward`, of <u, J v> by differences against <J' u, v>; else None.
    """

    op: str
    module: str
    source: str | None
    reason: Reason
    relative_error: float | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """Finite-difference check of all gradients of a model.

    Attributes:
        checks: For each parameter the direction with the largest error.
        suspects: Places that explain the disagreement; empty if there is none.
        directions: Directions tried for each parameter.
        dtype: What was computed in.
        on_copy: True if a float64 copy of the model was checked.
        tolerance: Relative error up to which a gradient agrees.
        notes: What the reader should know.
    """

    checks: tuple[Check, ...]
    suspects: tuple[Suspect, ...]
    directions: int
    dtype: str
    on_copy: bool
    tolerance: float
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if no gradient disagrees."""
        return all(check.verdict != "disagrees" for check in self.checks)


@dataclass(frozen=True, slots=True)
class Ripple:
    """How a change of one parameter travels to the loss, per unit of change.

    Attributes:
        parameter: Its name.
        index: The entry that is changed, or None for a direction over all entries.
        direction: `entry`, `gradient`, `signs` or `given`; always of norm 1.
        loss: Value of the loss.
        links: Ops that the change reaches, in order of execution.
        directional_derivative: Change of the loss, by the forward pass.
        finite_difference: The same by central differences of the loss; None if the step does not
            give the same loss twice.
        uncertainty: Estimated error of the finite difference.
        eps: Its step, relative to the norm of the parameter.
        gradient: The same by the gradient, <g, v>; None if the parameter is frozen or no gradient
            reaches it.
        unreached: Number of ops with floating-point outputs that the change does not reach.
        ends: Calls at which it leaves the differentiable path.
        dtype: Of the parameter.
        notes: What the reader should know.
        verification: The check of all parameters, if it was asked for.
    """

    parameter: str
    index: tuple[int, ...] | None
    direction: str
    loss: float
    links: tuple[RippleLink, ...]
    directional_derivative: float
    finite_difference: float | None
    uncertainty: float | None
    eps: float | None
    gradient: float | None
    unreached: int
    ends: tuple[RippleEnd, ...] = ()
    dtype: str = ""
    notes: tuple[str, ...] = ()
    verification: Verification | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return encode(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Ripple:
        """Read what `to_dict` made.

        Raises:
            ValueError: If it has another schema version.
        """
        return decode(cls, data)
