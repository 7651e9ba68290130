"""A short training of a copy: learning speed of every layer and loss at each step."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from isograd.capture.guard import untouched
from isograd.capture.probe import Step, call_step, check_loss
from isograd.errors import StepError
from isograd.records.history import History


def train_copy(
    model: nn.Module, step: Step, optimizer: torch.optim.Optimizer | None, steps: int
) -> History:
    """Train a deep copy and note the learning speeds.

    Args:
        model: Copied; the model itself is guarded and stays as it is.
        step: The training step's loss.
        optimizer: Copied with its state onto the copy's parameters; SGD at 0.01 if None.
        steps: Number of steps.

    Returns:
        Per step, the loss and the norm of each bias gradient (of each weight gradient for
        a layer without bias).

    Raises:
        StepError: If the model cannot be copied, or the step raises.
    """
    guard = untouched(model)
    with guard:
        try:
            twin = copy.deepcopy(model)
        except Exception as error:
            raise StepError(
                f"the model cannot be copied for a short training: {error}",
                causes=("the model keeps a tensor with a graph; detach it", "pass steps=0"),
            ) from error
        trainer = copied_optimizer(optimizer, model, twin)
        watched = _watched(twin)
        loss_values: list[float] = []
        speeds: list[list[float]] = []
        for _ in range(steps):
            trainer.zero_grad(set_to_none=True)
            loss = call_step(step, twin)
            check_loss(loss)
            loss.backward()
            loss_values.append(float(loss.detach()))
            speeds.append([_norm(p.grad) for p in watched.values()])
            trainer.step()
    return History(
        steps=tuple(range(len(loss_values))),
        layers=tuple(watched),
        speeds=tuple(zip(*speeds, strict=True)) if speeds else (),
        loss=tuple(loss_values),
    )


def copied_optimizer(
    optimizer: torch.optim.Optimizer | None, model: nn.Module, twin: nn.Module
) -> torch.optim.Optimizer:
    """The same optimizer, with the same state, on the parameters of a copy.

    Parameters that the optimizer owns but the model does not are left out.
    """
    if optimizer is None:
        return torch.optim.SGD([p for p in twin.parameters() if p.requires_grad], lr=0.01)
    memo: dict[int, Any] = {
        id(a): b for a, b in zip(model.parameters(), twin.parameters(), strict=True)
    }
    return copy.deepcopy(optimizer, memo)


def _watched(model: nn.Module) -> dict[str, nn.Parameter]:
    """The bias of each layer, or its weight if it has none."""
    found: dict[str, nn.Parameter] = {}
    for path, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        weight = own.get("weight")
        if weight is None or weight.dim() < 2 or not weight.requires_grad:
            continue
        bias = own.get("bias")
        found[path or "model"] = weight if bias is None else bias
    if not found:
        found = {n: p for n, p in model.named_parameters() if p.requires_grad}
    return found


def _norm(gradient: Tensor | None) -> float:
    if gradient is None:
        return 0.0
    return float(torch.linalg.vector_norm(gradient.detach(), dtype=torch.float64))
