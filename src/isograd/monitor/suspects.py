"""Which steps may be run again, and what of them is there for it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from isograd.monitor.bad_hunt import several
from isograd.monitor.step_tape import StepTape
from isograd.monitor.step_taping import StepTaping
from isograd.monitor.tape import NotPlayableError

# Data of a step that is kept.
BATCH_BYTES = 2**28


def refusal(model: nn.Module) -> str:
    """Why no step of a model can be run again, or ""."""
    if any(hasattr(p, "to_local") or p.device.type == "meta" for p in model.parameters()):
        return "weights that are split over processes cannot be run again by one"
    if several() and any(isinstance(m, nn.SyncBatchNorm) for m in model.modules()):
        return "its batch norm waits for other processes"
    return ""


def strange(optimizer: torch.optim.Optimizer) -> bool:
    """True if a setting of an optimizer may by itself give NaN: then its step is kept."""
    for group in optimizer.param_groups:
        if group.get("eps", 1.0) == 0:
            return True
        for value in group.values():
            if isinstance(value, float) and not math.isfinite(value):
                return True
    return False


def given(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The gradients that an optimizer has just used, by name."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return {
        name: p.grad.detach()
        for name, p in model.named_parameters()
        if id(p) in held and p.grad is not None
    }


def taped(taping: StepTaping) -> tuple[StepTape | None, str]:
    """The tape of the step so far, or why there is none."""
    try:
        tape = taping.tape()
    except NotPlayableError as why:
        return None, str(why)
    if tape.bytes > BATCH_BYTES:
        return None, f"its data takes {tape.bytes / 2**20:.0f} MiB"
    return tape, ""
