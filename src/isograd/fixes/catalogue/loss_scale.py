"""A loss that is scaled up on the way back, and gradients that are scaled down again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from isograd.fixes.kind import Case, Kind, Proposal, register
from isograd.fixes.patches import loops
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError
from isograd.fixes.setup import Setup
from isograd.records import Finding
from isograd.records.fix import Fix


@register
class LossScale(Kind):
    """`torch.amp.GradScaler` in the loop: small float16 gradients do not round to 0."""

    name = "loss-scale"
    cures = frozenset(("G604", "precision", "G603"))
    part = "step"
    special = True
    reference = "Micikevicius et al. (2018)"

    def proposals(self, case: Case) -> Iterator[Proposal]:
        """For float16 ops with float32 weights, where the usual loop is used."""
        setup = case.setup
        half = any(
            op.output is not None and op.output.dtype == "float16" for op in case.snapshot.ops
        ) or any(op.underflow is not None for op in case.snapshot.ops)
        whole = all(p.dtype == torch.float32 for p in setup.model.parameters())
        if half and whole and setup.optimizer is not None and setup.train_step is None:
            device = next(setup.model.parameters()).device.type
            yield Proposal(
                "scale the loss: torch.amp.GradScaler",
                {"device": device},
                snippet=_lines("torch", device).replace("{step}", "step"),
                undo="Call backward() and step() themselves.",
                weight=0.8,
            )

    def change(self, setup: Setup, parameters: dict[str, Any]) -> Setup:
        """A loop of its own."""
        step = setup.step
        scaler = torch.amp.GradScaler(parameters["device"])

        def train_step(model: nn.Module, optimizer: torch.optim.Optimizer) -> Any:
            optimizer.zero_grad()
            loss = step(model)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            return loss

        setup.train_step = train_step
        return setup

    def edit(self, source: Source, fix: Fix, finding: Finding) -> None:
        """The loop as the fourth value of the target."""
        if "train_step" in source.target.parts:
            raise NotInSourceError("the target has a loop of its own")
        loops.added(source, _lines(source.alias("torch"), fix.parameters["device"]))


def _lines(torch_name: str, device: str) -> str:
    return (
        f'scaler = {torch_name}.amp.GradScaler("{device}")\n\n'
        f"def train_step(model, optimizer):\n"
        f"    optimizer.zero_grad()\n"
        f"    loss = {{step}}(model)\n"
        f"    scaler.scale(loss).backward()\n"
        f"    scaler.step(optimizer)\n"
        f"    scaler.update()\n"
        f"    return loss\n"
    )
