"""Fresh draws of a model's initialisation, so that seeds differ in more than their batches.

A proof on one draw of the weights says nothing of the next. How the weights were drawn is not
known, but columns of a weight matrix that was drawn are exchangeable: permuting them, for each
matrix on its own, gives another draw of the same kind with the same entries, rows and singular
values, so that whatever is wrong with the scale, the sign or the symmetry of the draw stays wrong.
Weights that were trained lose what they learnt by it; such a model keeps its weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from isograd.fixes.setup import Setup

# Largest singular value / that of the same entries in random order. Draws stay near 1 or, if
# orthogonal, below; directions that were learnt stand out.
_OUTLIER = 1.5
# A larger matrix is judged by its first so many rows and columns.
_MOST = 256


def redrawable(setup: Setup) -> bool:
    """True if the weights look drawn, not trained, and nothing computes them from others."""
    if setup.optimizer is not None and setup.optimizer.state:
        return False
    model = setup.model
    if any(parametrize.is_parametrized(module) for module in model.modules()):
        return False
    generator = torch.Generator().manual_seed(0)
    return not any(_learnt(weight, generator) for weight in _matrices(model))


def redraw(model: nn.Module, seed: int) -> None:
    """Permute the columns (input channels, for convolutions) of all trainable weights, in place.

    Args:
        model: Changed in place.
        seed: Of the permutations; the same seed gives the same ones.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in _matrices(model):
            order = torch.randperm(weight.shape[1], generator=generator)
            weight.copy_(weight[:, order.to(weight.device)])


def _matrices(model: nn.Module) -> list[Tensor]:
    return [
        p
        for p in model.parameters()
        if p.dim() > 1 and p.requires_grad and p.is_floating_point() and p.shape[1] > 1
    ]


def _learnt(weight: Tensor, generator: torch.Generator) -> bool:
    matrix = weight.detach().flatten(1)[:_MOST, :_MOST].to("cpu", torch.float64)
    if min(matrix.shape) < 8 or not bool(torch.isfinite(matrix).all()):
        return False
    flat = matrix.reshape(-1)
    shuffled = flat[torch.randperm(flat.numel(), generator=generator)].reshape(matrix.shape)
    usual = float(torch.linalg.matrix_norm(shuffled, 2))
    return usual > 0 and float(torch.linalg.matrix_norm(matrix, 2)) > _OUTLIER * usual
