"""What loss functions are called with."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from isograd.capture import kinds
from isograd.capture.draft import Draft
from isograd.records.loss_call import LossCall, Spread

_DIFFERENCES = frozenset(("sub", "__sub__", "__rsub__", "rsub"))
_MOVES = kinds.MOVES
_SAMPLE = 4096
_ROWS = 64
_DISTINCT = 1000
_ONE = 1e-3
_WEIGHTED = ("input", "target", "weight", "size_average", "ignore_index", "reduce", "reduction")
_BINARY = ("input", "target", "weight", "size_average", "reduce", "reduction", "pos_weight")
_PARAMETERS = {
    "cross_entropy": _WEIGHTED,
    "nll_loss": _WEIGHTED,
    "binary_cross_entropy": _BINARY,
    "binary_cross_entropy_with_logits": _BINARY,
    "mse_loss": ("input", "target", "size_average", "reduce", "reduction", "weight"),
}
# What an activation can put out.
_RANGES = {
    "relu": (0.0, math.inf),
    "relu6": (0.0, 6.0),
    "sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "softplus": (0.0, math.inf),
    "hardtanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "hardsigmoid": (0.0, 1.0),
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
    by_hand = draft.name in _DIFFERENCES and not draft.place.module
    if not (draft.kind == "loss" or by_hand) or len(inputs) < 2:
        return None
    prediction, target = inputs[0].detach(), inputs[1].detach()
    if by_hand:
        if inputs[0].requires_grad == inputs[1].requires_grad or target.numel() < 2:
            return None  # a difference of two outputs, or of numbers
        if not inputs[0].requires_grad:
            prediction, target = target, prediction
    if prediction.numel() == 0 or target.numel() == 0 or prediction.is_complex():
        return None
    integer = not target.is_floating_point() and target.dtype is not torch.bool
    ignored = 0.0
    if integer and draft.name in ("cross_entropy", "nll_loss"):
        index = kwargs.get("ignore_index", -100)
        ignored = float((target == index).float().mean())
    return LossCall(
        op=draft.index,
        name=draft.name,
        input_shape=tuple(prediction.shape),
        target_shape=tuple(target.shape),
        prediction=_spread(prediction),
        target=_spread(target),
        integer_target=integer,
        ignored_fraction=ignored,
        sums_to_one=_sums_to_one(prediction, integer),
        upstream=_upstream(draft),
        source=draft.place.source,
        plain=_plain(draft.name, args, kwargs),
        unreachable=_unreachable(_upstream(draft), target, integer),
    )


def _plain(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """True for the mean over all targets, none of which counts more than another."""
    given = dict(zip(_PARAMETERS.get(name, ()), args, strict=False)) | kwargs
    weighted = any(given.get(key) is not None for key in ("weight", "pos_weight"))
    old = any(given.get(key) is not None for key in ("size_average", "reduce"))
    return not weighted and not old and given.get("reduction", "mean") == "mean"


def _unreachable(upstream: str, target: Tensor, integer: bool) -> float:
    limits = _RANGES.get(upstream.rstrip("_"))
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
