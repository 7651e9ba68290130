"""An op's kind, refined from what it was called with."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from isograd.capture import kinds, transforms
from isograd.capture.draft import Draft, Node

# How far upstream of a softmax the product that made its logits is looked for.
_SCORE_REACH = 8


def refine(
    draft: Draft,
    inputs: list[Tensor],
    before: list[tuple[Node | None, str | None]],
    out: Tensor,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    """Settle the kind of a draft, whether it is a layer, and where its units are.

    Args:
        draft: The op; changed in place.
        inputs: Its tensor inputs.
        before: Their graph node and parameter name before the call.
        out: Its first output.
        args: Positional arguments of the call.
        kwargs: Keyword arguments of the call.
    """
    name = draft.name
    data = [
        tensor
        for tensor, (node, parameter) in zip(inputs, before, strict=True)
        if parameter is None and (node is not None or tensor.requires_grad)
    ]
    has_weight = weighted(before)
    if name in kinds.SOFTMAXES or name == "log_softmax":
        draft.dim = _softmax_dim(out, args, kwargs)
    draft.scalar = out.numel() == 1
    draft.nan_constant = any(
        (isinstance(value, float) and value != value)
        or (isinstance(value, Tensor) and _constant_nan(value))
        for value in args
    )
    if name in kinds.MATMULS and len(data) >= 2 and not has_weight:
        draft.operands = tuple(
            (node, tensor.output_nr)
            for tensor, (node, _) in zip(inputs, before, strict=True)
            if node is not None
        )[-2:]
        draft.kind = _mark_attention(draft)
    elif name in kinds.ADDS and draft.kind == "other":
        alike = len(data) >= 2 and data[0].shape == data[1].shape
        if alike and not has_weight and not draft.scalar:
            draft.kind = "residual"
    elif name in kinds.MULS and has_weight and draft.kind == "other":
        draft.kind = "weight"
    _find_units(draft, inputs, before, out, args, kwargs)


def _softmax_dim(out: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
    return dim % out.dim() if isinstance(dim, int) and out.dim() else None


def _constant_nan(value: Tensor) -> bool:
    if transforms.active():
        return False
    made = value.requires_grad or value.dim() > 0  # by the model, or no constant at all
    return not made and value.device.type == "cpu" and bool((value != value).item())


def weighted(before: list[tuple[Node | None, str | None]]) -> bool:
    """True if a parameter is among the inputs."""
    return any(parameter is not None for _, parameter in before)


def _find_units(
    draft: Draft,
    inputs: list[Tensor],
    before: list[tuple[Node | None, str | None]],
    out: Tensor,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    position = kinds.LAYERS.get(draft.name)
    if position is not None and draft.kind in ("weight", "normalization", "activation"):
        weight = args[position] if len(args) > position else kwargs.get("weight")
        at = next((i for i, t in enumerate(inputs) if t is weight), None)
        if weight is not None and at is not None and before[at][1] is not None and weight.dim() > 1:
            if all(parameter is not None for _, parameter in before):
                return  # a product of weights (a penalty, a merged adapter) is no layer
            draft.layer = True
            draft.parameter = before[at][1]
            draft.fan_in = fan_in(weight, draft.name)
            convolution = draft.name.startswith("conv")
            spatial = int(draft.name.rstrip("d")[-1]) if convolution else 0
            draft.channel_dim = -1 - spatial if convolution else -1
            names = [p for _, p in before if p is not None and p != draft.parameter]
            draft.bias = names[-1] if names else None
            draft.units_count = -1 if out.is_nested else out.shape[draft.channel_dim]
            return
    if draft.name in kinds.FUSED and weighted(before):
        draft.layer = True
        draft.channel_dim = -1
        draft.batch_dim = 0 if args[-1] is True else 1
        return
    for source in draft.sources:
        if source.channel_dim is not None and out.dim() >= -source.channel_dim:
            draft.channel_dim = source.channel_dim
            return


def fan_in(weight: Tensor, name: str) -> int | None:
    """Inputs that one unit of a layer sums over."""
    if name == "linear" or name == "bilinear":
        return int(weight.shape[-1])
    if name.startswith("conv_transpose"):
        return int(weight.shape[0])
    if name.startswith("conv"):
        return math.prod(weight.shape[1:])
    return int(weight.shape[0])


def _mark_attention(draft: Draft) -> Any:
    """`attention` if the product reads a softmax, marking the way up to the scores too."""
    for source in draft.sources:
        softmax = _upstream(source, kinds.SOFTMAXES)
        if softmax is None:
            continue
        softmax.kind = "attention"
        softmax.attention_output = draft
        scores = _upstream(softmax.sources[0], kinds.MATMULS) if softmax.sources else None
        if scores is not None:
            _mark_between(softmax, scores)
            for short, operand in zip("qk", scores.operands, strict=False):
                softmax.attention_inputs[short] = (scores, *operand)
            if len(draft.operands) == 2:
                softmax.attention_inputs["v"] = (draft, *draft.operands[1])
        return "attention"
    return "other"


def _upstream(draft: Draft, names: frozenset[str]) -> Draft | None:
    for _ in range(_SCORE_REACH):
        if draft.name in names:
            return draft
        if draft.name not in kinds.SCORE_PATH or not draft.sources:
            return None
        draft = draft.sources[0]
    return None


def _mark_between(softmax: Draft, scores: Draft) -> None:
    scores.kind = "attention"
    draft = softmax.sources[0]
    while draft is not scores:
        draft.kind = "attention"
        draft = draft.sources[0]
