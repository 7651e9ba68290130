"""Statistics of activations, taken during the forward pass.

The root mean square and the non-finite count see every entry. The other moments of a large
tensor come from an even sample of 2048 entries, so that measuring does not cost a second
forward pass. Whether a unit is dead is decided on all samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from isograd.capture import transforms
from isograd.capture.attention import attention_inputs, attention_stats, softmax_stats
from isograd.capture.draft import Draft
from isograd.capture.norms import (
    SMALL,
    Rows,
    Slot,
    flat_view,
    norm_and_nonfinite,
    row_norms,
    row_zero_fractions,
)
from isograd.capture.spread import Spreads
from isograd.records.tensor_stats import TensorStats, UnitStats

_SAMPLE = 2048
_SAMPLE_ROWS = 64
# A derivative below 5 % of its largest value lets less than a twentieth of the gradient pass.
SATURATED = 0.05
# Ops that move numbers without changing them: their statistics are those of their input.
_SKIPPED = frozenset(("reshape", "dropout"))
_RELU_LIKE = frozenset("relu relu_ relu6 relu6_ threshold threshold_ clamp_min clamp_min_".split())
# Derivative from the output, and the largest derivative.
_DERIVATIVES: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "sigmoid": (lambda y: y * (1 - y), 0.25),
    "tanh": (lambda y: 1 - y * y, 1.0),
    "hardtanh": (lambda y: (y.abs() < 1).to(y.dtype), 1.0),
    "hardsigmoid": (lambda y: ((y > 0) & (y < 1)).to(y.dtype) / 6, 1 / 6),
    "softsign": (lambda y: (1 - y.abs()).square(), 1.0),
}
_DERIVATIVES.update({f"{name}_": value for name, value in _DERIVATIVES.items()})


# Moments, spread and columns of a tensor that comes from outside.
Data = tuple[Slot, Slot | None, Slot | None]


class Meter:
    """Takes the statistics of one forward pass."""

    def __init__(self) -> None:
        self._moments = Rows(_moment_rows)
        self._units = Rows(_dead_rows)
        self._spreads = Spreads()
        self._inputs: dict[int, tuple[Tensor, int, Data]] = {}
        self._attention: list[Draft] = []

    def output(
        self,
        draft: Draft,
        inputs: list[Tensor],
        out: Tensor,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        """Note what the call made. Never keeps `out` itself."""
        if transforms.active():
            return  # inside torch.func the values belong to the transform
        out = out.detach()
        if draft.name == "scaled_dot_product_attention":
            draft.attention_inputs = attention_inputs(draft, args, kwargs)
            draft.attention = attention_stats(args, kwargs)
        elif draft.name == "softmax" and out.dim() >= 2 and _over_last(out, args, kwargs):
            draft.attention = softmax_stats(inputs[0].detach(), out)
        if draft.sources:
            draft.input_moments = draft.sources[0].moments
        if draft.kind in _SKIPPED or not measurable(out):
            draft.moments = draft.input_moments
            return
        draft.moments = self.moments(out)
        if draft.layer or draft.kind == "normalization":
            draft.spread = self._spreads.add(out)
        if draft.input_moments is None:
            data = self._data(inputs, draft)
            if data is not None:
                draft.input_moments, draft.input_spread, draft.input_columns = data
        if draft.kind == "activation":
            draft.units = self._unit_slot(draft, out)

    def moments(self, tensor: Tensor) -> Slot:
        """Queue the moments of a tensor that may change after this call."""
        shape = tuple(tensor.shape)
        dtype = str(tensor.dtype).removeprefix("torch.")
        if tensor.is_complex():
            tensor = torch.view_as_real(tensor.resolve_conj())
        slot = Slot()
        if tensor.numel() <= SMALL:
            slot.value = (shape, dtype, self._moments.add(tensor.reshape(-1).clone()), None)
            return slot
        view = flat_view(tensor)
        flat = tensor.reshape(-1) if view is None else view
        sample = flat[:: flat.numel() // _SAMPLE][:_SAMPLE].clone()
        if tensor.device.type == "cpu":
            exact: Any = norm_and_nonfinite(flat)
        else:
            wide = torch.float32 if tensor.device.type == "mps" else torch.float64
            exact = (torch.linalg.vector_norm(flat, dtype=wide), (~torch.isfinite(flat)).sum())
        slot.value = (shape, dtype, self._moments.add(sample), (flat.numel(), *exact))
        return slot

    def finish(self) -> None:
        """Fill every slot."""
        self._moments.flush()
        self._units.flush()
        self._spreads.finish()
        self._inputs.clear()

    def _data(self, inputs: list[Tensor], draft: Draft) -> Data | None:
        for tensor in inputs:
            if tensor.grad_fn is None and not tensor.requires_grad and measurable(tensor):
                known = self._inputs.get(id(tensor))
                if known is None or known[1] != tensor._version:
                    data = tensor.detach()
                    slots = (
                        self.moments(data),
                        self._spreads.add(data),
                        self._spreads.columns(data),
                    )
                    self._inputs[id(tensor)] = known = (tensor, tensor._version, slots)
                return known[2]
        return None

    def _unit_slot(self, draft: Draft, out: Tensor) -> Slot | None:
        if out.dim() < 2 or out.is_complex():
            return None
        dim = draft.channel_dim if draft.channel_dim is not None else _default_dim(out)
        others = [d for d in range(out.dim()) if d != dim % out.dim()]
        if draft.name in _RELU_LIKE:
            return Slot(("relu", self._units.add(out.amax(others)), draft))
        if draft.name in _DERIVATIVES:
            rows = out.movedim(dim, -1).reshape(-1, out.shape[dim])
            rows = rows[:: max(1, len(rows) // _SAMPLE_ROWS)]
            return Slot(("smooth", _derivative_stats(rows, *_DERIVATIVES[draft.name]), draft))
        return None


def measurable(tensor: Tensor) -> bool:
    """True if moments make sense: dense, not empty, real or complex numbers."""
    return (
        (tensor.is_floating_point() or tensor.is_complex())
        and not tensor.is_nested
        and tensor.numel() > 0
        and tensor.layout is torch.strided
        and type(tensor) in (Tensor, torch.nn.Parameter)
    )


def tensor_stats(
    slot: Slot | None, spread: Slot | None = None, columns: Slot | None = None
) -> TensorStats | None:
    """Record of moments, and of spreads where they were taken, after `finish`."""
    if slot is None or slot.value is None:
        return None
    shape, dtype, row, exact = slot.value
    mean, rms, absmax, zeros, nonfinite, nan = row.value
    if exact is not None:
        numel, norm, bad = exact[0], float(exact[1]), int(exact[2])
        rms, nonfinite = norm / math.sqrt(numel), max(bad, nonfinite)
        nan = max(nan, nonfinite if math.isnan(rms) else 0)
    between, tokens = spread.value if spread is not None else (None, None)
    return TensorStats(
        shape,
        dtype,
        mean,
        rms,
        absmax,
        zeros,
        nonfinite,
        nan,
        exact is not None,
        between,
        tokens,
        columns.value if columns is not None else None,
    )


def unit_stats(slot: Slot | None) -> UnitStats | None:
    """Record of unit statistics after `finish`."""
    if slot is None:
        return None
    how, value, draft = slot.value
    if how == "smooth":
        return value
    units, dead = value.value
    moments = tensor_stats(draft.moments)
    passed = 1.0 - moments.zero_fraction if moments else None
    return UnitStats(units, dead, None, math.sqrt(passed) if passed is not None else None, 1.0)


def _over_last(out: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
    return dim in (-1, out.dim() - 1)


def _default_dim(out: Tensor) -> int:
    return 1 if out.dim() == 4 else -1


def _moment_rows(stack: Tensor) -> list[tuple[float, float, float, float, int, int]]:
    n = stack.shape[1]
    wide = stack if stack.dtype in (torch.float32, torch.float64) else stack.float()
    means = wide.mean(1).tolist()
    largest = wide.abs().amax(1).tolist()
    zeros = row_zero_fractions(wide)
    rows = []
    for row, norm in enumerate(row_norms(wide)):
        bad = nan = 0
        if not math.isfinite(norm):
            bad = n - int(torch.isfinite(wide[row]).sum())
            nan = int(torch.isnan(wide[row]).sum())
        rows.append((means[row], norm / math.sqrt(n), largest[row], zeros[row], bad, nan))
    return rows


def _dead_rows(stack: Tensor) -> list[tuple[int, float]]:
    units = stack.shape[1]
    return [(units, 1 - alive / units) for alive in torch.count_nonzero(stack > 0, 1).tolist()]


def _derivative_stats(
    rows: Tensor, derivative: Callable[[Tensor], Tensor], largest: float
) -> UnitStats:
    slope = derivative(rows.float() if rows.dtype != torch.float64 else rows)
    low = slope < SATURATED * largest
    numbers = torch.stack(
        (
            slope.square().mean().sqrt(),
            low.to(slope.dtype).mean(),
            (slope <= 1e-6 * largest).all(0).to(slope.dtype).mean(),
        )
    ).tolist()
    return UnitStats(rows.shape[1], numbers[2], numbers[1], numbers[0], largest)
