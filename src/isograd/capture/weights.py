"""Numbers of every parameter and its gradient after the backward pass."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from isograd.capture.norms import (
    SMALL,
    Rows,
    Slot,
    dense,
    norm_and_nonfinite,
    row_norms,
    row_zero_fractions,
)
from isograd.capture.norms import (
    plain as to_plain,
)
from isograd.records.parameter import Missing, ParameterStats

# 256 kB in float32: a chunk stays in the cache for all four passes over it.
# Of a hundred uniform draws, the largest comes this near to the bound.
_NEAR = 0.9
_CHUNK = 65_536
# Sums in float32 over the same numbers in another order.
_ROUNDING = 1e-4
# norm, absmax, zero_fraction, nonfinite
Numbers = tuple[float, float, float, int]


def parameter_stats(
    parameters: dict[str, Tensor],
    missing: dict[str, Missing],
    fans: dict[str, int | None],
) -> dict[str, ParameterStats]:
    """Measure all parameters; small ones of one shape together.

    Args:
        parameters: By name, with `.grad` of the backward pass.
        missing: Reasons for those without a gradient.
        fans: fan_in by name, where known.
    """
    rows = Rows(_number_rows)
    weights: dict[str, Slot] = {}
    gradients: dict[str, Slot] = {}
    for name, parameter in parameters.items():
        weights[name] = _queue(rows, parameter)
        if parameter.grad is not None:
            gradients[name] = _queue(rows, parameter.grad)
    rows.flush()
    out = {}
    for name, parameter in parameters.items():
        slot = gradients.get(name)
        norm, absmax, zeros, bad = (0.0, 0.0, 1.0, 0) if slot is None else slot.value
        out[name] = ParameterStats(
            tuple(parameter.shape),
            norm,
            norm / math.sqrt(max(1, parameter.numel())),
            absmax,
            zeros,
            bad,
            weights[name].value[0],
            missing.get(name),
            parameter.requires_grad,
            fans.get(name),
            _default_init(parameter),
            _identical_rows(parameter) if fans.get(name) is not None else "",
        )
    return out


def _identical_rows(weight: Tensor) -> str:
    """Which of a layer's weight and gradient are the same for all units; see `ParameterStats`."""
    if not _same_rows(weight, 0.0):
        return ""
    return "both" if weight.grad is not None and _same_rows(weight.grad, _ROUNDING) else "weight"


def _same_rows(tensor: Tensor, tolerance: float) -> bool:
    tensor = to_plain(tensor.detach())
    if tensor.dim() < 2 or tensor.shape[0] < 2 or tensor.layout is not torch.strided:
        return False
    if tensor.is_meta or not tensor.numel() or not tensor.is_floating_point():
        return False
    rows = tensor.flatten(1)
    largest = float(rows[0].abs().max())
    if not 0 < largest < math.inf:
        return False
    # Two rows settle it for every weight that was drawn.
    return all(
        bool((part - rows[:1]).abs().max() <= tolerance * largest) for part in (rows[1:2], rows)
    )


def _default_init(parameter: Tensor) -> bool | None:
    """True if a frozen weight lies within the bound of `nn.Linear` and `nn.Conv` at their start."""
    if parameter.requires_grad or parameter.dim() < 2 or not parameter.is_floating_point():
        return None
    if parameter.is_meta or not parameter.numel():
        return None
    bound = 1 / math.sqrt(math.prod(parameter.shape[1:]))
    largest = float(parameter.detach().abs().max())
    return _NEAR * bound < largest <= bound * (1 + 1e-6)


def _queue(rows: Rows, tensor: Tensor) -> Slot:
    weight = isinstance(tensor, torch.nn.Parameter)
    if tensor.is_meta:  # memory was never given
        return Slot((0.0, 0.0, 1.0, 0))
    tensor = to_plain(tensor.detach())
    plain = tensor.layout is torch.strided and not tensor.is_complex() and tensor.numel()
    if plain and tensor.numel() <= SMALL and tensor.is_floating_point():
        return rows.add(tensor.detach().reshape(-1))
    if weight:
        return Slot((norm_and_nonfinite(dense(tensor))[0],))
    return Slot(_numbers(tensor))


def _numbers(gradient: Tensor) -> Numbers:
    """Numbers of one large, sparse or complex gradient; zeros are counted, not inferred."""
    numel = gradient.numel()
    values = dense(gradient)
    if values.numel() == 0:
        return 0.0, 0.0, 1.0, 0
    if values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64):
        if values.is_contiguous() and not gradient.is_complex():
            square, absmax, zeros = _one_pass(values.view(-1).numpy())
            if 1e-30 < square < 1e30:
                return math.sqrt(square), absmax, 1 - (values.numel() - zeros) / numel, 0
    norm, bad = norm_and_nonfinite(values)
    if gradient.is_complex():
        absmax = float(gradient.detach().abs().max())
        zeros = numel - int(torch.count_nonzero(gradient.detach()))
        return norm, absmax, zeros / numel, bad
    low, high = (float(x) for x in torch.aminmax(values))
    nonzero = values.numel() * (1 - row_zero_fractions(values.reshape(1, -1))[0])
    return norm, max(abs(low), abs(high)), 1 - nonzero / numel, bad


def _one_pass(values: np.ndarray) -> tuple[float, float, int]:
    """Sum of squares, largest absolute entry and number of zeros, a cache-sized chunk at a time."""
    square, largest, zeros = 0.0, 0.0, 0
    equal = np.empty(min(_CHUNK, len(values)), bool)
    with np.errstate(all="ignore"):  # what overflows is measured again, scaled
        for start in range(0, len(values), _CHUNK):
            chunk = values[start : start + _CHUNK]
            part = torch.from_numpy(chunk)
            square += float(part.dot(part))
            largest = max(largest, float(chunk.max()), -float(chunk.min()))
            zeros += int(np.count_nonzero(np.equal(chunk, 0, out=equal[: len(chunk)])))
    return square, largest, zeros


def _number_rows(stack: Tensor) -> list[Numbers]:
    absmax = stack.abs().amax(1).tolist()
    norms = row_norms(stack)
    zeros = row_zero_fractions(stack)
    out: list[Numbers] = []
    for row, norm in enumerate(norms):
        bad = 0
        if not math.isfinite(norm):
            bad = stack.shape[1] - int(torch.isfinite(stack[row]).sum())
        out.append((norm, absmax[row], zeros[row], bad))
    return out
