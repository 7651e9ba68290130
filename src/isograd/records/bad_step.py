"""Where NaN or infinity began: the first op that made it from finite numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from isograd.records import codec

# Why a step is not located that only another process's gradients made bad.
OTHERS = "the part of this process is finite; `isograd replay` tells of the others"
Phase = Literal["data", "weights", "buffers", "forward", "backward", "gradients", "optimizer", ""]


@dataclass(frozen=True, slots=True)
class TensorRange:
    """What a tensor held.

    Attributes:
        name: The argument's name in the op's signature, or the user's name of the tensor.
        dtype: Such as `float16`.
        shape: Its shape.
        minimum: Smallest finite entry; None if there is none.
        maximum: Largest finite entry; None if there is none.
        zeros: Entries that are exactly zero.
        nan: Entries that are NaN.
        inf: Entries that are +inf.
        minus_inf: Entries that are -inf.
        held: Name of the parameter, buffer or variable that it is, or "".
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    minimum: float | None = None
    maximum: float | None = None
    zeros: int = 0
    nan: int = 0
    inf: int = 0
    minus_inf: int = 0
    held: str = ""

    @property
    def finite(self) -> bool:
        """True if no entry is NaN or infinite."""
        return not (self.nan or self.inf or self.minus_inf)

    @property
    def size(self) -> int:
        """Number of entries."""
        count = 1
        for length in self.shape:
            count *= length
        return count


@dataclass(frozen=True, slots=True)
class Waypoint:
    """A call on the way from the first bad op to what was found.

    Attributes:
        call: The torch function.
        source: "file.py:42" or None.
        kind: `nan` or `inf`: what it put out.
        phase: As in `BadStep`.
    """

    call: str
    source: str | None
    kind: str
    phase: Phase


@dataclass(frozen=True, slots=True)
class BadStep:
    """One training step that went wrong, and where.

    Attributes:
        step: Number of the optimizer's step, from 0; None if nobody counted.
        phase: Where it began: `forward`, `backward`, `gradients` (between backward and the
            optimizer's step: clipping, unscaling), `optimizer`; or something that was not finite
            before the step did anything: `data`, `weights`, `buffers`. "" if it was not located.
        kind: `nan` or `inf`: what the op put out.
        op: The op as the dispatcher names it, such as `div`; "" if not located.
        call: The torch function that the user called, such as `cross_entropy`; in a backward pass
            the one whose derivative it is.
        node: Name of the autograd node in a backward pass, such as `SqrtBackward0`.
        source: "file.py:42": the innermost line that is not torch's; in a backward pass the line
            of the forward call.
        text: That line's text.
        module: Path of the innermost module.
        module_type: Its class.
        tensor: Name of the weight, buffer or variable concerned, or "".
        reached: What was found not to be finite: "loss", "gradient of fc.weight", ...
        inputs: Ranges of the op's inputs. In a backward pass those of the forward call follow,
            with names that begin with `forward `.
        output: Range of what the op put out.
        scalars: Arguments of the op that are not finite numbers, such as "alpha=-inf".
        note: More in one sentence, or "".
        path: How it went on from there: the calls that turned infinity into NaN or led it on.
        how: How it was found: `replayed on a copy`, `run again`, `live`, `not located: why`.
        reproduced: True if the same values came out that were found in the training.
    """

    step: int | None
    phase: Phase
    kind: str
    op: str = ""
    call: str = ""
    node: str = ""
    source: str | None = None
    text: str = ""
    module: str = ""
    module_type: str = ""
    tensor: str = ""
    reached: str = ""
    inputs: tuple[TensorRange, ...] = ()
    output: TensorRange | None = None
    scalars: tuple[str, ...] = ()
    note: str = ""
    path: tuple[Waypoint, ...] = field(default=())
    how: str = ""
    reproduced: bool = False

    @property
    def located(self) -> bool:
        """True if the first bad op, or the tensor that brought it in, is known."""
        return self.phase != ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return codec.encode(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> BadStep:
        """Inverse of `to_dict`.

        Raises:
            ValueError: If the schema version is another one, or a value does not fit.
        """
        return codec.decode(cls, data)
