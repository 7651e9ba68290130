"""Random changes: what a fix must beat to be more than any change at all."""

from __future__ import annotations

import random

import torch

from isograd.fixes.arms import Change
from isograd.fixes.setup import Setup
from isograd.records.fix import Part

# Decades of a random factor, both ways.
_REACH = 1.0


def random_change(part: Part, seed: int) -> Change:
    """A random change of the same part, drawn anew for each seed.

    - model: every weight matrix is drawn anew, normal, at its own scale times 10**u;
    - optimizer: the rates of all groups times 10**u;
    - step: the loss times 10**u;

    with u uniform in [-1, 1], for each matrix on its own.
    """
    draw = random.Random(seed)

    def scale() -> float:
        return 10 ** draw.uniform(-_REACH, _REACH)

    def change(setup: Setup) -> Setup:
        if part == "model":
            with torch.no_grad():
                for p in setup.model.parameters():
                    if p.dim() > 1 and p.is_floating_point() and p.requires_grad:
                        p.normal_(0, float(p.float().square().mean().sqrt()) * scale())
        elif part == "optimizer":
            factor = scale()
            for group in setup.optimizer.param_groups if setup.optimizer else ():
                group["lr"] = group["lr"] * factor
        else:
            factor, step = scale(), setup.step
            setup.step = lambda model: step(model) * factor
            if setup.train_step is not None:
                # The loop is the user's own: the factor goes to the rates instead.
                for group in setup.optimizer.param_groups if setup.optimizer else ():
                    group["lr"] = group["lr"] * factor
        return setup

    return change
