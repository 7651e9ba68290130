"""Gates that begin with memories of all lengths up to the input's."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch import nn

from isograd.fixes.kind import Case, Proposal, register
from isograd.fixes.written import Names, Written
from isograd.theory.recurrent import chrono_mean_cell_gain

_GATED = (nn.LSTM, nn.GRU)


@register
class Chrono(Written):
    """Forget biases `log(u)` with u uniform in [1, T - 1], input biases the negative."""

    name = "chrono"
    cures = frozenset(("G201", "recurrence"))
    special = True
    reference = "Tallec and Ollivier (2018)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """For the length that was seen."""
        model = case.setup.model
        lengths = [len(track.norms) for track in case.snapshot.recurrent]
        steps = max(lengths, default=0)
        if steps < 3 or not any(isinstance(m, _GATED) for m in model.modules()):
            return
        kept = math.log10(chrono_mean_cell_gain(steps))
        yield self.proposal(
            model,
            f"chrono gate biases for up to {steps} steps",
            {"steps": steps, "kept_decades": kept},
            weight=0.9,
        )

    def lines(self, names: Names, parameters: dict[str, Any]) -> str:
        """Gates lie as input, forget, cell, output (LSTM) and reset, update, new (GRU)."""
        last = parameters["steps"] - 1
        return (
            f"for layer in {names.model}.modules():\n"
            f"    if isinstance(layer, ({names.nn}.LSTM, {names.nn}.GRU)) and layer.bias:\n"
            f"        h = layer.hidden_size\n"
            f"        with {names.torch}.no_grad():\n"
            f"            for name, bias in layer.named_parameters():\n"
            f'                if name.startswith("bias_hh"):\n'
            f"                    bias.zero_()\n"
            f'                elif name.startswith("bias_ih"):\n'
            f"                    bias.zero_()\n"
            f"                    bias[h : 2 * h].uniform_(1, {last}).log_()\n"
            f"                    if isinstance(layer, {names.nn}.LSTM):\n"
            f"                        bias[:h] = -bias[h : 2 * h]\n"
        )
