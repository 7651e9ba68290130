"""Recurrent layers one time step at a time, in plain differentiable operations.

`nn.RNN`, `nn.LSTM` and `nn.GRU` run their whole loop over time inside one fused kernel, so the
backward graph shows one node for them. The functions here compute the same thing step by step
and keep the tensor that stands at every step boundary.

Layouts: `N = sum(batch_sizes)` rows of data, time step after time step, as in a
`PackedSequence`; a padded batch is the case in which all `T` batch sizes equal `B`. `L` layers,
`D` directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.rnn import RNNBase
from torch.nn.utils.rnn import PackedSequence

from isograd.capture.cells import CELLS, CellWeights, State, cell_weights

__all__ = ["States", "Trace", "drops", "unroll", "unrolled_forward"]

States = Tensor | tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Trace:
    """Tensors at the step boundaries of one layer and direction, in order of processing.

    Attributes:
        layer: Layer index, from 0.
        direction: `forward` or `reverse`.
        points: The state after each step as everything else sees it: the next step, the
            layer's output and the returned state.
        inlets: `inlets[t]` is the same state as read by step `t + 1` alone; one less than
            `points`. It holds the sequences that are alive at both steps.
    """

    layer: int
    direction: str
    points: list[State] = field(default_factory=list)
    inlets: list[State] = field(default_factory=list)


def drops(module: RNNBase) -> bool:
    """Whether a call of `module` draws dropout masks between its layers."""
    return module.training and module.dropout > 0 and module.num_layers > 1


def unrolled_forward(
    module: RNNBase, inputs: Tensor | PackedSequence, hx: States | None = None
) -> tuple[Tensor | PackedSequence, States]:
    """Forward pass of a recurrent module without its fused kernel.

    Differentiable with respect to the input, the initial state and the weights. In training
    mode with dropout it draws from the random generator in the order of torch's CPU code:
    one mask over the whole output of every layer but the last. On other devices the fused
    kernel draws in another way, so only the distribution is the same.

    Args:
        module: An `nn.RNN`, `nn.LSTM` or `nn.GRU`.
        inputs: `[T, B, input]`, `[B, T, input]` if `batch_first`, `[T, input]`, or packed.
        hx: Initial state as the module takes it, `[L * D, B, size]`; None means zero.

    Returns:
        Output and final state in the form the module returns them.
    """
    outputs, states, _ = unroll(module, cell_weights(module), inputs, hx)
    return outputs, states


def unroll(
    module: RNNBase,
    weights: Sequence[CellWeights],
    inputs: Tensor | PackedSequence,
    hx: States | None,
) -> tuple[Tensor | PackedSequence, States, list[Trace]]:
    """`unrolled_forward` with given weights, and with the tensors at the step boundaries.

    Args:
        module: Supplies the configuration only.
        weights: As from `cell_weights`.
        inputs: As in `unrolled_forward`.
        hx: As in `unrolled_forward`.

    Returns:
        Output, final state, and one trace per layer and direction.
    """
    packed = inputs if isinstance(inputs, PackedSequence) else None
    if isinstance(inputs, PackedSequence):
        data, batch_sizes = inputs.data, inputs.batch_sizes.tolist()
        batched = True
    else:
        batched = inputs.dim() == 3
        padded = inputs if batched else inputs.unsqueeze(1)
        if batched and module.batch_first:
            padded = padded.transpose(0, 1)
        batch_sizes = [padded.shape[1]] * padded.shape[0]
        data = padded.flatten(0, 1)

    initial = _initial_states(module, data, batch_sizes[0], hx, batched)
    if packed is not None and hx is not None and packed.sorted_indices is not None:
        initial = tuple(part.index_select(1, packed.sorted_indices) for part in initial)

    directions = 2 if module.bidirectional else 1
    traces: list[Trace] = []
    finals: list[State] = []
    for layer in range(module.num_layers):
        halves: list[Tensor] = []
        for direction in ("forward", "reverse")[:directions]:
            index = len(traces)
            trace = Trace(layer, direction)
            start = tuple(part[index] for part in initial)
            half, final = _run(module.mode, weights[index], data, batch_sizes, start, trace)
            halves.append(half)
            finals.append(final)
            traces.append(trace)
        data = torch.cat(halves, dim=-1)
        if drops(module) and layer < module.num_layers - 1:
            data = F.dropout(data, module.dropout)

    states = tuple(torch.stack(parts) for parts in zip(*finals, strict=True))
    if packed is not None:
        if packed.unsorted_indices is not None:
            states = tuple(part.index_select(1, packed.unsorted_indices) for part in states)
        outputs = packed._replace(data=data)
    else:
        outputs = data.unflatten(0, (len(batch_sizes), batch_sizes[0]))
        if not batched:
            outputs, states = outputs.squeeze(1), tuple(part.squeeze(1) for part in states)
        elif module.batch_first:
            outputs = outputs.transpose(0, 1)
    return outputs, states[0] if len(states) == 1 else (states[0], states[1]), traces


def _initial_states(
    module: RNNBase, data: Tensor, batch: int, hx: States | None, batched: bool
) -> State:
    """Initial states, each `[L * D, batch, size]`, in the order the user gave the sequences."""
    if hx is not None:
        given = (hx,) if isinstance(hx, Tensor) else tuple(hx)
        return given if batched else tuple(part.unsqueeze(1) for part in given)
    sizes = [module.proj_size or module.hidden_size]
    if module.mode == "LSTM":
        sizes.append(module.hidden_size)
    count = module.num_layers * (2 if module.bidirectional else 1)
    return tuple(data.new_zeros(count, batch, size) for size in sizes)


def _run(
    mode: str,
    weights: CellWeights,
    data: Tensor,
    batch_sizes: Sequence[int],
    start: State,
    trace: Trace,
) -> tuple[Tensor, State]:
    """One layer in one direction: output `[N, size]`, final state; fills the trace."""
    cell = CELLS[mode]
    gates = F.linear(data, weights.ih, weights.bias_ih).split(list(batch_sizes))
    if trace.direction == "reverse":
        gates = gates[::-1]
    alive = gates[0].shape[0]
    state = tuple(part.narrow(0, 0, alive) for part in start)
    finished: list[State] = []
    for step, gate in enumerate(gates):
        rows = gate.shape[0]
        if step > 0:
            if rows < alive:
                finished.append(tuple(part.narrow(0, rows, alive - rows) for part in state))
            # `narrow` is a node of its own even when it keeps every row, which separates the
            # recurrent path from everything else that reads the state.
            state = tuple(part.narrow(0, 0, min(rows, alive)) for part in state)
            trace.inlets.append(state)
            if rows > alive:
                state = tuple(
                    torch.cat((part, first.narrow(0, alive, rows - alive)))
                    for part, first in zip(state, start, strict=True)
                )
        # The identity keeps h's own use of c (h = o * tanh(c)) out of the gradient at c.
        state = tuple(part.view_as(part) for part in cell(gate, state, weights))
        trace.points.append(state)
        alive = rows
    outputs = [point[0] for point in trace.points]
    if trace.direction == "reverse":
        outputs.reverse()
    final = (state, *reversed(finished))
    return torch.cat(outputs), tuple(torch.cat(parts) for parts in zip(*final, strict=True))
