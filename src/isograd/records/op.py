"""Ops and the gradients between them: what one forward and backward is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from isograd.records.tensor_stats import AttentionStats, TensorStats, UnitStats

Kind = Literal[
    "weight",
    "activation",
    "normalization",
    "attention",
    "residual",
    "pooling",
    "reshape",
    "dropout",
    "recurrence",
    "loss",
    "other",
]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Op:
    """One autograd node group made by one Python-level call.

    Attributes:
        index: Position in the order of execution, from 0.
        name: Name of the call, such as `linear` or `relu_`.
        module: Path of the innermost module that made the call (`blocks.3.mlp`); "" outside.
        source: Innermost line that is not torch's own, as "file.py:42"; None if unknown.
        kind: What the op contributes to the gradient product.
        module_type: Class name of that module, such as `Linear`; "" outside.
        grad_norm: Norm of the gradient that arrives at its outputs; 0.0 if none arrived.
        grad_nonfinite: Number of NaN and infinite entries in the gradient that arrives.
        on_path: True if the loss depends on it through the graph.
        sources: Indices of the ops whose outputs it reads.
        loops: True if an earlier call with the same weight lies upstream (a loop over time).
        custom: True for somebody's own `torch.autograd.Function`.
        dim: Dimension of a softmax, counted from the front; None for other ops.
        rising: Share of positive entries in the gradient that arrives at a log-likelihood: 0 if
            each is raised by the step, 1 if each is lowered; None for other ops.
        pull: Mean and standard deviation over entries of the gradient that arrives at the
            log-likelihoods of answers that were drawn in the step: minus the rewards, over their
            number; None for other ops.
        masked: Share of zeros in the factor of a product outside of modules that consists of
            zeros and ones and needs no gradient; None for other ops.
        underflow: Share of the float16 gradient that arrives with fewer than four binary
            digits left (below 1e-6), zeros included; None in other dtypes.
        inputs: Statistics of its first floating-point input, where they were taken.
        output: Statistics of its first output, where they were taken.
        units: Behaviour of the units, for activation functions.
        attention: Behaviour of the softmax, for attention.
    """

    index: int
    name: str
    module: str
    source: str | None
    kind: Kind
    module_type: str = ""
    grad_norm: float = 0.0
    grad_nonfinite: int = 0
    on_path: bool = True
    loops: bool = False
    custom: bool = False
    sources: tuple[int, ...] = ()
    dim: int | None = None
    rising: float | None = None
    pull: tuple[float, float] | None = None
    masked: float | None = None
    underflow: float | None = None
    inputs: TensorStats | None = None
    output: TensorStats | None = None
    units: UnitStats | None = None
    attention: AttentionStats | None = None


@dataclass(frozen=True, slots=True)
class Term:
    """One of several gradients that add up at an edge.

    Attributes:
        op: Index of the op it came through.
        norm: Its norm.
    """

    op: int
    norm: float


@dataclass(frozen=True, slots=True)
class Edge:
    """One tensor on the border between ops, with the gradient that arrives at it.

    Attributes:
        index: Position in `Snapshot.edges`.
        op: Index of the op that made the tensor; None for a parameter.
        parameter: Name of the parameter; None for an op's output.
        norm: Norm of the gradient that arrives (all terms summed).
        dominator: Index of the nearest edge that every path from the loss crosses before this
            one; None at the loss.
        terms: The gradients that were summed here, where there is more than one.
        cross: `norm**2 - sum(term.norm**2)`: positive if the terms agree, negative if they cancel.
    """

    index: int
    op: int | None
    parameter: str | None
    norm: float
    dominator: int | None
    terms: tuple[Term, ...] = ()
    cross: float = 0.0
