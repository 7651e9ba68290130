"""Gated recurrent layers in the place of plain ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch import nn

from isograd.fixes.kind import Case, Proposal, register
from isograd.fixes.setup import Setup
from isograd.fixes.written import Names, Written


@register
class Gated(Written):
    """GRU for RNN, with update gates that keep a state for as long as the input.

    A plain layer multiplies its state by one matrix at each step, and the gradient with it; a
    gate near 1 hands both on. Inputs and outputs are those of the plain layer.
    """

    name = "gated-recurrence"
    cures = frozenset(("G201", "recurrence"))
    reference = "Cho et al. (2014); Tallec and Ollivier (2018)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where there is a plain recurrent layer; for the length that was seen."""
        model = case.setup.model
        count = sum(type(m) is nn.RNN for m in model.modules())
        if not count:
            return
        steps = max((len(track.norms) for track in case.snapshot.recurrent), default=0) or 30
        bias = float(f"{math.log(max(steps - 1, 2)):.3g}")
        yield self.proposal(
            model,
            f"GRU instead of RNN, for memories of {steps} steps",
            {"bias": bias, "optimizer": case.setup.optimizer is not None},
            weight=1.5,
            undo="Put the RNN back.",
        )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Run the lines; the new weights go to the optimizer."""
        setup = super().change(setup, parameters)
        setup.own([p for p in setup.model.parameters() if p.requires_grad])
        return setup

    def lines(self, names: Names, parameters: dict[str, Any]) -> str:
        """A loop over the plain layers."""
        n, model = names.nn, names.model
        hand = ""
        if parameters["optimizer"]:
            hand = f'        {names.optimizer}.param_groups[0]["params"].extend(gru.parameters())\n'
        return (
            f"for path, rnn in list({model}.named_modules()):\n"
            f"    if type(rnn) is {n}.RNN:\n"
            f"        gru = {n}.GRU(\n"
            f"            rnn.input_size, rnn.hidden_size, rnn.num_layers, rnn.bias,\n"
            f"            rnn.batch_first, rnn.dropout, rnn.bidirectional,\n"
            f"        ).to(next(rnn.parameters()))\n"
            f"        for name, bias in gru.named_parameters():\n"
            f'            if name.startswith("bias_ih"):  # the update gate\n'
            f"                {n}.init.constant_(\n"
            f"                    bias[rnn.hidden_size : 2 * rnn.hidden_size], "
            f"{parameters['bias']:g}\n"
            f"                )\n"
            f'        parent, _, leaf = path.rpartition(".")\n'
            f"        setattr({model}.get_submodule(parent), leaf, gru)\n"
            f"{hand}"
        )
