"""What the forward pass notes about an op before it becomes a record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from isograd.capture.norms import Slot
from isograd.capture.places import Place
from isograd.records.op import Kind

# Calls that hand numbers to Python or NumPy; no gradient comes back from there.
LEAVING = frozenset("item tolist numpy __array__".split())
# A node of the autograd graph. Its Python wrapper is unique while someone holds it.
Node = Any


@dataclass(slots=True, eq=False)
class Draft:
    """One op in the making.

    Attributes:
        index: Order of execution.
        name: Name of the call.
        place: Where it was made.
        kind: First guess, refined from its inputs.
        sources: Drafts whose outputs it reads.
        parameter: Name of a parameter among its inputs, if any.
        layer: True if it is a layer with units (linear, convolution, fused recurrent).
        channel_dim: Dimension of the units in its output.
        batch_dim: Dimension of the samples in its output.
        fan_in: Inputs per unit of its weight.
        moments: Slots for statistics of its output.
        input_moments: The same for its first input.
        spread: Slot for how its output differs between samples.
        input_spread: The same for its first input, where that is data.
        input_columns: Slot for how features of its input differ in size, where that is data.
        units: Slot for statistics of its units.
        attention: Statistics of its softmax.
        operands: For a product of two activations, graph node and output number of each.
        attention_inputs: For q, k and v: the op that reads it, its graph node, output number.
        attention_output: The op whose output is the attention's (itself if None).
        nan_constant: True if it was called with a constant that is NaN.
        dim: Dimension of a softmax.
        bounds: Interval of the values that it can put out; None if there is none.
        rising: Share of positive entries in the gradient of a log-likelihood.
        drawn: True for a log-likelihood of answers that were drawn in the step.
        masked: Share of zeros in a factor of zeros and ones.
        pull: Mean and standard deviation of the gradient that arrives there.
        underflow: Share of tiny entries in a float16 gradient.
        loops: True if an earlier call with the same weight lies upstream: a loop over time.
    """

    index: int
    name: str
    place: Place
    kind: Kind
    sources: tuple[Draft, ...] = ()
    parameter: str | None = None
    layer: bool = False
    channel_dim: int | None = None
    batch_dim: int = 0
    fan_in: int | None = None
    scalar: bool = False
    moments: Slot | None = None
    input_moments: Slot | None = None
    spread: Slot | None = None
    input_spread: Slot | None = None
    input_columns: Slot | None = None
    units: Slot | None = None
    attention: Any = None
    operands: tuple[tuple[Node, int], ...] = ()
    attention_inputs: dict[str, tuple[Draft, Node, int]] = field(default_factory=dict)
    attention_output: Draft | None = None
    nan_constant: bool = False
    loops: bool = False
    dim: int | None = None
    bounds: tuple[float, float] | None = None
    rising: float | None = None
    drawn: bool = False
    masked: float | None = None
    pull: tuple[float, float] | None = None
    underflow: float | None = None
    output: tuple[Node, int] | None = None
    bias: str | None = None
    units_count: int = 0


@dataclass(slots=True, eq=False)
class Cut:
    """A call that read a tensor with a gradient path and returned one without.

    Attributes:
        name: Name of the call.
        place: Where.
        nodes: Graph nodes of the inputs whose path ends here.
        parameters: Names of parameters read directly.
        grad_enabled: False inside `torch.no_grad()`.
        feeds: True if a layer with a gradient of its own reads what came out.
    """

    name: str
    place: Place
    nodes: tuple[Node, ...]
    parameters: tuple[str, ...]
    grad_enabled: bool
    feeds: bool = False
