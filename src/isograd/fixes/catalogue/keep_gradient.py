"""Gradients that reach the optimizer as backward made them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.setup import Setup
from isograd.fixes.stepping import before_step


@register
class KeepGradient(Kind):
    """What is set to zero or None between `backward()` and `step()` is put back."""

    name = "keep-gradient"
    cures = frozenset(("G506", "optimizer-state", "frozen", "G302"))
    part = "optimizer"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """Where the loop is the user's own and such a loss was seen."""
        if case.setup.train_step is not None and case.finding.code == "G506":
            yield Proposal(
                "keep the gradients until the step",
                snippet="# no `p.grad = None`, `p.grad.zero_()` between backward() and step()\n",
                undo="Clear them again.",
                weight=0.4,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """Note each gradient as it is complete; at the step put back what is lost."""
        if setup.optimizer is None:
            raise ValueError("there is no optimizer")
        made: dict[int, Tensor] = {}

        def note(parameter: Tensor) -> None:
            if parameter.grad is not None:
                made[id(parameter)] = parameter.grad.detach().clone()

        def put_back(optimizer: torch.optim.Optimizer) -> None:
            for group in optimizer.param_groups:
                for p in group["params"]:
                    known = made.pop(id(p), None)
                    if known is not None and (p.grad is None or not bool(p.grad.any())):
                        p.grad = known

        model: nn.Module = setup.model
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(note)
        before_step(setup.optimizer, put_back)
        return setup
