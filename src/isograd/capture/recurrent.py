"""Gradient through time of fused recurrent layers.

After a backward pass, one call of an `nn.RNN`, `nn.LSTM` or `nn.GRU` is known by its input, its
initial state and the gradients that arrived at its outputs. That suffices to run it again step
by step (`unroll`) and to read the gradient at every step boundary, which the fused kernel never
shows. With `s_t` the state after step `t`, `h_t` or `(h_t, c_t)`:

    norms[t]   |dC/ds_t|, over all paths: later steps, the layer's output, the layers above
    gains[t]   |(ds_{t+1}/ds_t)^T dC/ds_{t+1}| / |dC/ds_{t+1}|

A product of gains below 1 is the vanishing gradient of Hochreiter and Schmidhuber (1997); the
norm of the Jacobian bounds each gain, as in Pascanu, Mikolov and Bengio (2013).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.modules.rnn import RNNBase
from torch.nn.utils.rnn import PackedSequence

from isograd.capture.cells import State, cell_weights
from isograd.capture.unroll import States, Trace, drops, unroll
from isograd.records.parameter import TimeGains

__all__ = ["MAX_STEPS", "OutputGrads", "time_gains"]

# One CPU thread of a busy machine, batch 32, 512 steps: about 1 s for an LSTM with 32 units (its
# fused call with backward 0.1 s), 5 to 11 s for 128 units in two layers and both directions (1 to
# 2.5 s).
MAX_STEPS = 512


class OutputGrads(NamedTuple):
    """Gradients that arrived at the outputs of one recurrent call; None means zero.

    Attributes:
        output: At `output`, or at its `data` if packed; the shape of that tensor.
        h_n: At the final hidden state, `[L * D, B, size]` or `[L * D, size]`.
        c_n: At the final cell state of an LSTM, `[L * D, B, hidden]` or `[L * D, hidden]`.
    """

    output: Tensor | None = None
    h_n: Tensor | None = None
    c_n: Tensor | None = None


def time_gains(
    path: str,
    module: RNNBase,
    inputs: Tensor | PackedSequence,
    hx: States | None,
    grads: OutputGrads,
    rng_state: Tensor | None = None,
    *,
    max_steps: int = MAX_STEPS,
) -> tuple[TimeGains, ...] | str:
    """Gradient at every time step of one call, measured on an unrolled replay.

    The replay runs in float64, so a gradient that the layer's own precision would round to
    zero still has a norm. Module, parameters, `.grad` and random generators stay as they are.
    Where the recurrence amplifies rounding errors the replay ends up on another trajectory of
    the same map; its gains are then typical of the call, not equal to the call's.

    Args:
        path: Path of the module, for the record.
        module: An `nn.RNN`, `nn.LSTM` or `nn.GRU`, in the mode and with the weights of the call.
        inputs: Input of the call: `[T, B, input]`, `[B, T, input]` if `batch_first`,
            `[T, input]`, or packed.
        hx: Initial state of the call, or None.
        grads: Gradients that arrived at its outputs, in the shapes of the outputs.
        rng_state: `torch.get_rng_state()` from just before the call; needed for dropout only.
        max_steps: Longest sequence to replay.

    Returns:
        One record per layer and direction: layer 0 forward, layer 0 reverse, layer 1 forward
        and so on. Or, if the call cannot be replayed truly, one sentence that says why.
    """
    reason = _obstacle(module, inputs, rng_state, max_steps)
    if reason is not None:
        return reason

    device = (inputs.data if isinstance(inputs, PackedSequence) else inputs).device
    if device.type == "mps":  # has no float64
        device = torch.device("cpu")

    def copy(tensor: Tensor) -> Tensor:
        return tensor.detach().to(device, torch.float64)

    # Autocast needs no switching off: it leaves float64 alone.
    with torch.random.fork_rng(devices=[], enabled=drops(module)), torch.enable_grad():
        if drops(module) and rng_state is not None:
            torch.set_rng_state(rng_state)
        start = None
        if hx is not None:
            start = copy(hx) if isinstance(hx, Tensor) else (copy(hx[0]), copy(hx[1]))
        # Every state depends on the input, so this puts every step on the graph. The gradient
        # at the input itself is never computed.
        if isinstance(inputs, PackedSequence):
            moved = inputs.cpu() if device.type == "cpu" else inputs
            entry = moved._replace(data=copy(moved.data).requires_grad_())
        else:
            entry = copy(inputs).requires_grad_()
        weights = [cell.map(copy) for cell in cell_weights(module)]
        outputs, states, traces = unroll(module, weights, entry, start)
        roots = [
            outputs.data if isinstance(outputs, PackedSequence) else outputs,
            *((states,) if isinstance(states, Tensor) else states),
        ]
        seeds = [
            torch.zeros_like(root) if grad is None else copy(grad)
            for root, grad in zip(roots, grads, strict=False)  # no c_n without a cell state
        ]
        wanted = [part for trace in traces for state in _boundaries(trace) for part in state]
        found = iter(torch.autograd.grad(roots, wanted, seeds, materialize_grads=True))
    measured = [
        _measure([tuple(next(found) for _ in state) for state in _boundaries(trace)])
        for trace in traces
    ]
    return tuple(
        TimeGains(path, trace.layer, trace.direction, norms, gains)
        for trace, (norms, gains) in zip(traces, measured, strict=True)
    )


def _obstacle(
    module: RNNBase, inputs: Tensor | PackedSequence, rng_state: Tensor | None, max_steps: int
) -> str | None:
    """Why a replay would be untrue or too slow, or None."""
    if isinstance(inputs, PackedSequence):
        steps, device = len(inputs.batch_sizes), inputs.data.device.type
    else:
        steps = inputs.shape[1 if inputs.dim() == 3 and module.batch_first else 0]
        device = inputs.device.type
    if steps > max_steps:
        return f"{steps} time steps, more than the {max_steps} that are replayed"
    if drops(module) and device != "cpu":
        return f"the fused kernel's dropout masks cannot be drawn again on {device}"
    if drops(module) and rng_state is None:
        return "the random state from before the call, needed for its dropout masks, was not kept"
    return None


def _boundaries(trace: Trace) -> list[State]:
    """The points of a trace, then its inlets."""
    return [*trace.points, *trace.inlets]


def _measure(grads: Sequence[State]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Norms and gains from the gradients at `_boundaries`; one transfer from the device."""
    steps = (len(grads) + 1) // 2
    points, inlets = grads[:steps], grads[steps:]
    # A sequence that starts at step t + 1 (packed, reverse) has no step t to send a gradient
    # to. It would make the gain look small, so the denominator leaves it out.
    shared = [
        tuple(part.narrow(0, 0, inlet[0].shape[0]) for part in point)
        for point, inlet in zip(points[1:], inlets, strict=True)
    ]
    values = torch.stack([_norm(state) for state in (*points, *inlets, *shared)]).tolist()
    norms, rest = values[:steps], values[steps:]
    leaving, arriving = rest[: steps - 1], rest[steps - 1 :]
    gains = (a / b if b != 0 else 0.0 for a, b in zip(leaving, arriving, strict=True))
    return tuple(norms), tuple(gains)


def _norm(state: State) -> Tensor:
    """Euclidean norm of all parts together, scaled so that no square under- or overflows."""
    flat = torch.cat([part.flatten() for part in state])
    if flat.numel() == 0:
        return flat.new_zeros(())
    peak = flat.abs().amax()
    scale = torch.where((peak > 0) & peak.isfinite(), peak, 1.0)
    return scale * torch.linalg.vector_norm(flat / scale)
