"""Norms and dot products of many tensors at once, for numbers that are taken at every step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# Entries from which single precision is enough: its relative error falls with the square root.
_LARGE = 4096
_REAL = frozenset((torch.float32, torch.float64))
_COARSE = frozenset((torch.float16, torch.bfloat16))
# Below this the squares of single precision are lost: such a norm is taken again.
_FAINT = 1e-18


def norms(tensors: Sequence[Tensor | None]) -> list[float]:
    """Euclidean norm of each tensor, 0.0 for None; waits for the device."""
    with torch._C.DisableTorchFunction():  # a mode of anybody's need not see this
        return _norms(tensors)


def _norms(tensors: Sequence[Tensor | None]) -> list[float]:
    out = [0.0] * len(tensors)
    small: list[int] = []
    large: list[int] = []
    for at, tensor in enumerate(tensors):
        if tensor is None:
            continue
        if not _plain(tensor):
            out[at] = norm(tensor)
        elif tensor.numel() < _LARGE or tensor.dtype not in _REAL:
            small.append(at)
        else:
            large.append(at)
    for group, dtype in ((small, torch.float64), (large, None)):
        present = [t.detach() for i in group if (t := tensors[i]) is not None]
        taken = fused_norms(present, dtype) if present else []
        for at, value in zip(group, taken, strict=True):
            out[at] = value.item()
    return out


def norm(tensor: Tensor | None) -> float:
    """Euclidean norm of one tensor of any layout, 0.0 for None."""
    if tensor is None:
        return 0.0
    tensor = local(tensor.detach())
    if tensor.layout is not torch.strided:
        tensor = tensor.coalesce().values()
    small = tensor.numel() < _LARGE or tensor.dtype not in _REAL
    wide = torch.complex128 if tensor.is_complex() else torch.float64
    return float(torch.linalg.vector_norm(tensor.to(wide) if small else tensor))


def dots(pairs: Sequence[tuple[Tensor, Tensor]]) -> list[float]:
    """Real part of the inner product of tensors of one shape each; waits for the device."""
    with torch._C.DisableTorchFunction(), torch.no_grad():
        return [_dot(a, b) for a, b in pairs]


def _dot(a: Tensor, b: Tensor) -> float:
    if a.dtype is b.dtype and a.dtype in _REAL and type(b) is Tensor:
        return torch.dot(a.view(-1), b.view(-1)).item() if _dense(a, b) else _sum(a, b)
    a, b = local(a.detach()), local(b.detach())
    if a.is_complex() or b.is_complex():
        return float(torch.vdot(a.flatten(), b.flatten()).real)
    if a.dtype not in _REAL or a.dtype != b.dtype:
        a, b = a.float(), b.float()
    return float(torch.dot(a.flatten(), b.flatten()))


def _dense(a: Tensor, b: Tensor) -> bool:
    return a.is_contiguous() and b.is_contiguous()


def _sum(a: Tensor, b: Tensor) -> float:
    return float(torch.sum(a.detach() * b))


def local(tensor: Tensor) -> Tensor:
    """This rank's part of a distributed tensor; any other tensor as it is."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor  # pyright: ignore


def _plain(tensor: Tensor) -> bool:
    return (
        tensor.layout is torch.strided
        and not tensor.is_complex()
        and not hasattr(tensor, "to_local")
    )


def fused_norms(tensors: list[Tensor], dtype: torch.dtype | None = None) -> list[Tensor]:
    """Euclidean norms in one pass, left on the device.

    Raises:
        RuntimeError: If there is none, or one of them is sparse.
    """
    return list(torch._foreach_norm(tensors, 2, dtype=dtype))  # pyright: ignore


def stacked(gradients: Sequence[Tensor]) -> Tensor:
    """Norm of each gradient as one tensor; infinite where one is not finite."""
    taken = _fused(gradients)
    if taken is None:
        values = [norm(g) for g in gradients]
        return torch.tensor(
            [v if v == v else math.inf for v in values],
            dtype=torch.float64,
        )
    return taken


def _fused(gradients: Sequence[Tensor]) -> Tensor | None:
    """Norms in one pass; None where they have to be taken one by one."""
    try:
        coarse = gradients[0].dtype in _COARSE
        taken = torch.stack(fused_norms(list(gradients), torch.float32 if coarse else None))
    except RuntimeError:  # sparse, several devices or several types
        return None
    if type(taken) is not Tensor or taken.dtype in _COARSE:
        return None
    if taken.device.type != "cpu":
        return taken.nan_to_num(nan=math.inf, posinf=math.inf)
    values = taken.numpy()
    # Not (a <= x <= b), so that NaN counts too. A sum of squares leaves single precision before
    # its root does.
    if not (values.min() >= _FAINT and values.max() < math.inf):
        odd = [at for at, v in enumerate(values.tolist()) if not _FAINT <= v < math.inf]
        taken = taken.double()
        again = torch.stack(fused_norms([gradients[at] for at in odd], torch.float64))
        taken[odd] = again.nan_to_num(nan=math.inf, posinf=math.inf)
    return taken
