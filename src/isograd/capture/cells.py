"""One time step of the recurrent cells of torch, and the weights it takes.

A state is `(h,)` or, for an LSTM, `(h, c)`, each `[rows, size]`. The input's share of the gates
comes in ready, `[rows, gates * hidden]`, because it is one product for all steps together.

Elman RNN as in Pascanu, Mikolov and Bengio (2013); LSTM after Hochreiter and Schmidhuber
(1997), with a forget gate; GRU after Cho et al. (2014), with torch's variant of the candidate,
in which the reset gate multiplies `W_hn h + b_hn` instead of `h`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.rnn import RNNBase

__all__ = ["CELLS", "CellWeights", "State", "cell_weights"]

State = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class CellWeights:
    """Weights of one layer and direction, gates stacked in torch's order.

    Attributes:
        ih: Input to gates, `[gates * hidden, input]`.
        hh: State to gates, `[gates * hidden, size of h]`.
        bias_ih: `[gates * hidden]`, or None.
        bias_hh: `[gates * hidden]`, or None.
        hr: Projection of an LSTM's output, `[proj, hidden]`, or None.
    """

    ih: Tensor
    hh: Tensor
    bias_ih: Tensor | None = None
    bias_hh: Tensor | None = None
    hr: Tensor | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> CellWeights:
        """The same weights, each changed by `change`."""

        def apply(weight: Tensor | None) -> Tensor | None:
            return None if weight is None else change(weight)

        return CellWeights(
            change(self.ih),
            change(self.hh),
            apply(self.bias_ih),
            apply(self.bias_hh),
            apply(self.hr),
        )


def cell_weights(module: RNNBase) -> list[CellWeights]:
    """Weights that the latest call of `module` used.

    Reads `_flat_weights`, not the attributes: a parametrized attribute is computed anew at
    every access, and `spectral_norm` would take another power iteration.

    Args:
        module: An `nn.RNN`, `nn.LSTM` or `nn.GRU`.

    Returns:
        One entry per layer and direction: layer 0 forward, layer 0 reverse, layer 1 forward.
    """
    flat = [weight for weight in module._flat_weights if isinstance(weight, Tensor)]
    size = 2 + 2 * module.bias + (module.proj_size > 0)
    groups = [flat[start : start + size] for start in range(0, len(flat), size)]
    biases = slice(2, 4) if module.bias else slice(0, 0)
    return [
        CellWeights(
            group[0],
            group[1],
            *(group[biases] or (None, None)),
            hr=group[-1] if module.proj_size else None,
        )
        for group in groups
    ]


def _rnn_tanh(gate: Tensor, state: State, w: CellWeights) -> State:
    return (torch.tanh(gate + F.linear(state[0], w.hh, w.bias_hh)),)


def _rnn_relu(gate: Tensor, state: State, w: CellWeights) -> State:
    return (torch.relu(gate + F.linear(state[0], w.hh, w.bias_hh)),)


def _lstm(gate: Tensor, state: State, w: CellWeights) -> State:
    h, c = state
    i, f, g, o = (gate + F.linear(h, w.hh, w.bias_hh)).chunk(4, dim=1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return (h if w.hr is None else F.linear(h, w.hr)), c


def _gru(gate: Tensor, state: State, w: CellWeights) -> State:
    (h,) = state
    r_x, z_x, n_x = gate.chunk(3, dim=1)
    r_h, z_h, n_h = F.linear(h, w.hh, w.bias_hh).chunk(3, dim=1)
    r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
    n = torch.tanh(n_x + r * n_h)
    return (n + z * (h - n),)


CELLS: dict[str, Callable[[Tensor, State, CellWeights], State]] = {
    "RNN_TANH": _rnn_tanh,
    "RNN_RELU": _rnn_relu,
    "LSTM": _lstm,
    "GRU": _gru,
}
