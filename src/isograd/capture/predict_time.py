"""Gain per time step of recurrent layers: theory's number beside the measured one."""

from __future__ import annotations

import math

from torch import nn

from isograd.records.prediction import Rate
from isograd.records.snapshot import Snapshot
from isograd.theory import gain_per_layer, gru_state_gain, lstm_cell_gain


def rates(snapshot: Snapshot, model: nn.Module) -> tuple[Rate, ...]:
    """One rate for each layer and direction that was unrolled.

    Args:
        snapshot: With the gradient through time.
        model: Its recurrent modules hold the biases and weights.
    """
    modules = dict(model.named_modules())
    out = []
    for found in snapshot.recurrent:
        predicted, method = _predicted(modules.get(found.module), found.layer, found.direction)
        gains = found.gains
        if not gains:
            continue
        logs = [math.log(g) if g > 0 else -math.inf for g in gains]
        mean = math.exp(math.fsum(logs) / len(logs)) if min(logs) > -math.inf else math.nan
        out.append(
            Rate(found.module, found.layer, found.direction, len(gains), predicted, method, mean)
        )
    return tuple(out)


def _predicted(module: nn.Module | None, layer: int, direction: str) -> tuple[float | None, str]:
    end = f"l{layer}" + ("_reverse" if direction == "reverse" else "")
    if not isinstance(module, nn.RNNBase):
        return None, ""
    size = module.hidden_size
    if module.mode in ("LSTM", "GRU"):
        # torch keeps the gates stacked: LSTM i f g o, GRU r z n; forget and update come second.
        bias = 0.0
        if module.bias:
            both = getattr(module, f"bias_ih_{end}") + getattr(module, f"bias_hh_{end}")
            bias = float(both.detach()[size : 2 * size].mean())
        if module.mode == "LSTM":
            return lstm_cell_gain(bias, 1), "cell state with small weights, sigmoid(forget bias)"
        return gru_state_gain(bias, 1), "state with small weights, sigmoid(update bias)"
    weight = getattr(module, f"weight_hh_{end}").detach().double()
    sigma = math.sqrt(float(weight.square().sum()) / size)
    if module.mode == "RNN_RELU":
        return gain_per_layer("relu", sigma), "measured recurrent weight, half of the units live"
    return gain_per_layer("tanh", sigma, 0.0), "measured recurrent weight, no unit saturated"
