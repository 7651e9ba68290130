"""The demo's net in the hands of `isograd fix`: trials on copies, proof on fresh seeds."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from isograd import api
from isograd.demo import classic
from isograd.demo.remedies import Change
from isograd.records import Diagnosis
from isograd.records.fix import Fix, Trial

Step = Callable[[nn.Module], Tensor]
PREFIX = "isograd fix: "
STEPS = 100


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    """Full-batch gradient descent as `classic.train` does it: weights decay, biases do not."""
    weights = [p for p in model.parameters() if p.ndim == 2]
    rest = [p for p in model.parameters() if p.ndim != 2]
    groups = [{"params": weights, "weight_decay": classic.DECAY}, {"params": rest}]
    return torch.optim.SGD(groups, classic.RATE)


def trials(seed: int, step: Step, diagnosis: Diagnosis, seconds: float) -> list[Trial]:
    """What `isograd.fix` makes of the classic net.

    Args:
        seed: Of its weights.
        step: Its loss.
        diagnosis: Of it.
        seconds: For all trials.

    Returns:
        The best first; none where nothing is wrong.
    """
    model = classic.build(seed)
    optimizer = optimizer_of(model)
    return api.fix(model, step, optimizer, diagnosis=diagnosis, steps=STEPS, time_limit=seconds)


def as_change(fix: Fix, step: Step) -> Change:
    """A fix as one more remedy: carried out on the classic net, and trained like the others."""

    def build(seed: int) -> nn.Module:
        model = classic.build(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return fix.setup(model, step, optimizer_of(model)).model

    model = classic.build(0)
    changed = fix.setup(model, step, optimizer_of(model)).optimizer
    return Change(PREFIX + fix.title, build, float(changed.param_groups[0]["lr"]))
