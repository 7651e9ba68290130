"""The first op of a training step that makes NaN or infinity from finite numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from isograd.capture.guard import untouched
from isograd.capture.hunt import Hunt
from isograd.records.bad_step import BadStep


def first_bad(
    step: Callable[[], Any],
    model: nn.Module | None = None,
    names: dict[int, str] | None = None,
) -> BadStep | None:
    """Run one training step and find where it first goes wrong.

    The step runs once, as it is; what it changes stays changed. It takes some ten times as long.

    Args:
        step: Runs forward pass, backward pass and optimizer's step, or some of them.
        model: Names its parameters, buffers and modules.
        names: Names of further tensors, by address of their memory.

    Returns:
        Where it began; None if loss, gradients and weights stay finite.

    Example:
        >>> x = torch.zeros(3, requires_grad=True)
        >>> bad = first_bad(lambda: x.norm().sqrt().backward())
        >>> bad.phase, bad.call, bad.kind
        ('backward', 'sqrt', 'inf')
    """
    hunt = Hunt(model, names)
    with hunt:
        try:
            out = step()
            hunt.saw_root(out if isinstance(out, torch.Tensor) else None)
            hunt.saw_gradients()
            hunt.saw_weights()
        except Exception as error:
            hunt.saw_error(error)
            if hunt.found is None:
                raise
    return hunt.found


def first_bad_of(model: nn.Module, step: Callable[[Any], Any]) -> BadStep | None:
    """Find where a step's loss or gradient first goes wrong; nothing of the user's changes.

    Args:
        model: The model.
        step: `step(model)` returns a scalar loss.

    Returns:
        Where it began; None if all stays finite, or if it cannot be run this way.
    """

    def once() -> None:
        loss = step(model)
        if isinstance(loss, torch.Tensor) and loss.requires_grad:
            loss.backward()

    try:
        with untouched(model):
            return first_bad(once, model)
    except Exception:
        # What was measured without it stands.
        return None
