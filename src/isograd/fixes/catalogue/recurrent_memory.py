"""Recurrent layers that keep what they read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.layers import parts_of
from isograd.fixes.patches.source import Source
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix

_GATED = (nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell)


@register
class RecurrentMemory(Kind):
    """Bias of the forget gate (LSTM) or the update gate (GRU) for memories as long as the input.

    With bias b the state decays by sigmoid(b) a step; b = ln(T - 1) keeps 1/e of it over T steps.
    """

    name = "gate-bias"
    cures = frozenset(("G201", "recurrence"))
    reference = "Jozefowicz et al. (2015); Tallec and Ollivier (2018)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """The top of the chrono initialisation for the length that was seen, and 1."""
        if not parts_of(case.setup.model, (), _GATED):
            return
        lengths = [len(t.norms) for t in case.snapshot.recurrent]
        steps = max(lengths, default=0) or 30
        for bias in (math.log(max(steps - 1, 2)), 1.0):
            bias = float(f"{bias:.3g}")
            predicted = steps * math.log10(1 / (1 + math.exp(-bias)))
            yield Proposal(
                f"gate biases of {bias:g}, for memories of {1 + math.exp(bias):.0f} steps",
                {"bias": bias},
                None,
                f"# a state decays by {10 ** (predicted / steps):.3f} a step\n"
                + _lines("model", "nn", "torch", bias),
                "Remove the loop.",
                0.7,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Set the gate's two biases to the value and 0."""
        for path in parts_of(setup.model, (), _GATED):
            set_gate(setup.model.get_submodule(path), parameters["bias"])
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """A loop behind the model."""
        lines = _lines(
            source.name("model"), source.nn(), source.alias("torch"), fix.parameters["bias"]
        )
        source.before_return(lines)


def set_gate(layer: nn.Module, bias: float) -> None:
    """Gates lie in the order input, forget, cell, output (LSTM) and reset, update, new (GRU)."""
    h = layer.hidden_size  # type: ignore[attr-defined]
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("bias"):
                assert isinstance(h, int)
                parameter[h : 2 * h] = bias if "ih" in name else 0.0


def _lines(model: str, nn_name: str, torch_name: str, bias: float) -> str:
    gated = ", ".join(f"{nn_name}.{kind.__name__}" for kind in _GATED)
    return (
        f"for layer in {model}.modules():  # gates: input, forget, ... or reset, update, ...\n"
        f"    if isinstance(layer, ({gated})):\n"
        f"        with {torch_name}.no_grad():\n"
        f"            for name, bias in layer.named_parameters():\n"
        f'                if name.startswith("bias"):\n'
        f"                    gate = slice(layer.hidden_size, 2 * layer.hidden_size)\n"
        f'                    bias[gate] = {bias:g} if "ih" in name else 0.0\n'
    )
