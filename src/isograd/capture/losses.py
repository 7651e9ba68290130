"""What loss functions are called with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from isograd.capture import kinds
from isograd.capture.draft import Draft
from isograd.capture.labels import LOSSES, outside_share
from isograd.records.loss_call import LossCall, Spread

_DIFFERENCES = frozenset(("sub", "__sub__", "__rsub__", "rsub"))
_MOVES = kinds.MOVES
_SAMPLE = 4096
_ROWS = 64
_DISTINCT = 1000
_ONE = 1e-3
# Their arguments may be swapped without a change.
_SYMMETRIC = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
_WEIGHTED = ("input", "target", "weight", "size_average", "ignore_index", "reduce", "reduction")
_BINARY = ("input", "target", "weight", "size_average", "reduce", "reduction", "pos_weight")
_PARAMETERS = {
    "cross_entropy": _WEIGHTED,
    "nll_loss": _WEIGHTED,
    "binary_cross_entropy": _BINARY,
    "binary_cross_entropy_with_logits": _BINARY,
    "mse_loss": ("input", "target", "size_average", "reduce", "reduction", "weight"),
}
# A target counts as out of reach if it misses the range by this share of a standard deviation.
_MARGIN = 0.1


def loss_call(
    draft: Draft, inputs: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> LossCall | None:
    """Record of a call, or None if it is no loss function.

    Args:
        draft: The op.
        inputs: Its tensor inputs, the prediction first.
        args: Positional arguments.
        kwargs: Keyword arguments.
    """
    outer = not draft.place.module
    by_hand = outer and (draft.name in _DIFFERENCES or _broadcast_product(draft, inputs))
    if not (draft.kind == "loss" or by_hand) or len(inputs) < 2:
        return None
    prediction, target = inputs[0].detach(), inputs[1].detach()
    if by_hand and (inputs[0].requires_grad == inputs[1].requires_grad or target.numel() < 2):
        return None  # a difference of two outputs, or of numbers
    if (by_hand or draft.name in _SYMMETRIC) and not inputs[0].requires_grad:
        prediction, target = target, prediction
    if prediction.numel() == 0 or target.numel() == 0 or prediction.is_complex():
        return None
    integer = not target.is_floating_point() and target.dtype is not torch.bool
    kept, outside, ignored = target, 0.0, 0.0
    if integer and draft.name in LOSSES:
        classes = prediction.shape[1 if prediction.dim() > 1 else 0]
        outside = outside_share(target, classes, kwargs)
        counted = _counted(target, classes, args, kwargs)
        ignored = 1 - float(counted.float().mean())
        kept = target[counted] if ignored < 1 else target
    reach = draft.sources[0].bounds if draft.sources else None
    return LossCall(
        op=draft.index,
        name=draft.name,
        input_shape=tuple(prediction.shape),
        target_shape=tuple(target.shape),
        prediction=_spread(prediction),
        target=_spread(kept),
        integer_target=integer,
        ignored_fraction=ignored,
        sums_to_one=_sums_to_one(prediction, integer),
        upstream=_upstream(draft),
        source=draft.place.source,
        plain=_plain(draft.name, args, kwargs),
        reach=reach,
        unreachable=_unreachable(reach, target, integer),
        outside=outside,
        weighted=_weighted(args, kwargs) if draft.name in LOSSES else None,
        mass=_mass(prediction) if draft.name == "nll_loss" and integer else None,
    )


def zeros_and_ones(draft: Draft, inputs: list[Tensor]) -> float | None:
    """Share of zeros in the constant factor of a product, if it is made of zeros and ones.

    Args:
        draft: The op; products inside of modules are not looked at.
        inputs: Its tensor inputs.
    """
    product = draft.name.strip("_") in ("mul", "rmul", "multiply") and not draft.place.module
    if not product or len(inputs) != 2 or inputs[0].requires_grad == inputs[1].requires_grad:
        return None
    factor = next(t for t in inputs if not t.requires_grad)
    if factor.numel() < 2 or factor.is_complex() or factor.dtype is torch.bool:
        return None
    zero = factor == 0
    alike = bool((zero | (factor == 1)).all())
    return float(zero.float().mean()) if alike else None


def _broadcast_product(draft: Draft, inputs: list[Tensor]) -> bool:
    """True for (N, 1) times (N,): every sample meets every target."""
    if draft.name.strip("_") not in ("mul", "rmul") or len(inputs) != 2:
        return False
    shapes = sorted((tuple(t.shape) for t in inputs), key=len)
    return len(shapes[0]) == 1 and len(shapes[1]) == 2 and shapes[1] == (*shapes[0], 1)


def _counted(target: Tensor, classes: int, args: Any, kwargs: dict[str, Any]) -> Tensor:
    """Targets that take part in the loss: not ignored, and of a class with a weight."""
    counted = target != kwargs.get("ignore_index", -100)
    weight = kwargs.get("weight", args[2] if len(args) > 2 else None)
    if isinstance(weight, Tensor) and weight.numel() == classes:
        counted = counted & (weight.detach() != 0)[target.clamp(0, classes - 1)]
    return counted


def _plain(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """True for the mean over all targets, none of which counts more than another."""
    given = dict(zip(_PARAMETERS.get(name, ()), args, strict=False)) | kwargs
    weighted = any(given.get(key) is not None for key in ("weight", "pos_weight"))
    old = any(given.get(key) is not None for key in ("size_average", "reduce"))
    return not weighted and not old and given.get("reduction", "mean") == "mean"


def _unreachable(limits: tuple[float, float] | None, target: Tensor, integer: bool) -> float:
    if limits is None or integer or target.dtype is torch.bool:
        return 0.0
    flat = target.reshape(-1)[:: max(1, target.numel() // _SAMPLE)].float()
    margin = _MARGIN * float(flat.std(correction=0))
    outside = (flat < limits[0] - margin) | (flat > limits[1] + margin)
    return float(outside.float().mean())


def _upstream(draft: Draft) -> str:
    source = draft.sources[0] if draft.sources else None
    while source is not None and source.name in _MOVES and source.sources:
        source = source.sources[0]
    return source.name if source is not None else ""


def _sums_to_one(prediction: Tensor, over_classes: bool) -> bool:
    if prediction.dim() < 2:
        return False
    rows = prediction[:_ROWS].float()
    if bool((rows < 0).any()):
        return False
    return bool(((rows.sum(1 if over_classes else -1) - 1).abs() < _ONE).all())


def _weighted(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    weight = kwargs.get("weight", args[2] if len(args) > 2 else None)
    return int((weight.detach() != 0).sum()) if isinstance(weight, Tensor) else None


def _mass(prediction: Tensor) -> float | None:
    """Mean over samples of the sum over classes of exp(input)."""
    if prediction.dim() < 2:
        return None
    return float(prediction[:_ROWS].double().exp().sum(1).mean())


def _spread(tensor: Tensor) -> Spread:
    flat = tensor.reshape(-1)
    if not flat.is_floating_point():
        flat = flat.double() if flat.device.type != "mps" else flat.float()
    low, high = (float(value) for value in torch.aminmax(flat))
    sample = flat[:: max(1, flat.numel() // _SAMPLE)]
    wide = sample.double() if sample.device.type != "mps" else sample.float()
    return Spread(
        low,
        high,
        float(wide.mean()),
        float(wide.std(correction=0)),
        min(_DISTINCT, int(torch.unique(sample).numel())),
    )
