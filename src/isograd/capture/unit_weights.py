"""Weights of a stretch rescaled so that each layer alone has a gain of 1."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from isograd.capture import kinds
from isograd.capture.draft import Draft

# Activations that pass half of what arrives; weights are drawn for it (He et al., 2015).
RECTIFIERS = frozenset(
    "relu leaky_relu prelu rrelu relu6 elu celu selu gelu silu mish hardswish".split()
)
# Between a layer and its activation.
_BETWEEN = ("normalization", "reshape", "dropout", "other", "residual")


def rescaled(model: nn.Module, drafts: Sequence[Draft], first: int, last: int) -> tuple[str, ...]:
    """Give the weights of layers from one op to another the scale that their fan-in asks for.

    The variance of an entry becomes 1 / fan_in, twice that in front of a rectifier (LeCun et al.,
    1998; He et al., 2015): on average over draws a layer then hands on the norm of the gradient.
    The pattern of the weights and the biases stay as they are.

    Args:
        model: A copy of our own; changed.
        drafts: Ops of a forward pass.
        first: Index of the first op.
        last: Index of the last op.

    Returns:
        Names of the parameters that were rescaled.
    """
    rectified = {_layer_of(d) for d in drafts if d.name.strip("_") in RECTIFIERS}
    parameters = dict(model.named_parameters())
    scales: dict[str, float] = {}
    for draft in drafts:
        if not first <= draft.index <= last or not draft.layer or draft.name in kinds.FUSED:
            continue
        weight = parameters.get(draft.parameter or "")
        if weight is None or not draft.fan_in or weight.dim() < 2:
            continue
        rms = float(weight.detach().double().square().mean().sqrt())
        if not 0 < rms < math.inf:
            continue
        wanted = math.sqrt((2 if draft in rectified else 1) / draft.fan_in)
        scales.setdefault(str(draft.parameter), wanted / rms)
    with torch.no_grad():
        for name, scale in scales.items():
            parameters[name].mul_(scale)
    return tuple(scales)


def _layer_of(activation: Draft) -> Draft | None:
    """The layer whose output an activation reads."""
    stack, seen = list(activation.sources), set[int]()
    while stack:
        draft = stack.pop()
        if draft.layer:
            return draft
        if draft.index not in seen and draft.kind in _BETWEEN:
            seen.add(draft.index)
            stack.extend(draft.sources)
    return None
