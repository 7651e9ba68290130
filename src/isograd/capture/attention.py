"""What the softmax of an attention does, from a few query rows.

The full matrix of logits is never formed: for a handful of (batch, head) pairs and evenly
spaced queries the rows are computed again from q and k.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from isograd.capture.draft import Draft
from isograd.records.tensor_stats import AttentionStats

_PAIRS = 8
_ROWS = 8
_NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


def attention_inputs(
    draft: Draft, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, tuple[Draft, Any, int]]:
    """The op itself, graph node and output number of q, k and v, where they have one."""
    call = _bind(args, kwargs)
    return {
        short: (draft, call[name].grad_fn, call[name].output_nr)
        for short, name in (("q", "query"), ("k", "key"), ("v", "value"))
        if isinstance(call.get(name), Tensor) and call[name].grad_fn is not None
    }


def attention_stats(args: tuple[Any, ...], kwargs: dict[str, Any]) -> AttentionStats | None:
    """Logit maximum and row entropy of `scaled_dot_product_attention` on sampled rows.

    Query `[..., T, d]`, key `[..., S, d]`; a causal mask, a boolean or additive mask and grouped
    queries are taken into account.
    """
    call = _bind(args, kwargs)
    query, key = call["query"].detach(), call["key"].detach()
    if query.numel() == 0 or key.numel() == 0 or query.dim() < 2 or query.is_nested:
        return None
    length, keys = query.shape[-2], key.shape[-2]
    scale = call.get("scale")
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    picked = torch.linspace(0, length - 1, min(_ROWS, length), device=query.device).long()
    lead = query.shape[:-2]
    # Called only where needed: the first call of `broadcast_shapes` imports sympy.
    if not call.get("enable_gqa") and lead != key.shape[:-2]:
        lead = torch.broadcast_shapes(lead, key.shape[:-2])
        query = query.expand(*lead, *query.shape[-2:])
        key = key.expand(*lead, *key.shape[-2:])
    count = math.prod(lead)
    pairs = torch.linspace(0, count - 1, min(_PAIRS, count), device=query.device).long()
    at = _unravelled(pairs, lead)
    rows = query[at][:, picked].float()
    if call.get("enable_gqa"):
        group = query.shape[-3] // key.shape[-3]
        seen = key[(*at[:-1], at[-1] // group)].float()
    else:
        seen = key[at].float()
    logits = torch.matmul(rows, seen.transpose(-2, -1)) * scale
    allowed = torch.ones_like(logits, dtype=torch.bool)
    if call.get("is_causal"):
        allowed &= (torch.arange(keys, device=query.device) <= picked[:, None])[None]
    mask = call.get("attn_mask")
    if isinstance(mask, Tensor):
        chosen = mask.detach().expand(*lead, length, keys)[at][:, picked]
        if chosen.dtype == torch.bool:
            allowed &= chosen
        else:
            # A finite but enormous negative bias is a mask in all but name.
            allowed &= chosen > -1e4
            logits = logits + chosen.float()
    return _stats(logits, allowed)


def softmax_stats(logits: Tensor, weights: Tensor) -> AttentionStats | None:
    """The same for a softmax that was called on its own, logits `[..., T, S]`."""
    if logits.shape != weights.shape or logits.numel() == 0:
        return None
    flat = logits.reshape(-1, logits.shape[-1])
    # Not every n-th: rows of a causal mask repeat with the length of the sequence.
    picked = torch.linspace(0, len(flat) - 1, min(_PAIRS * _ROWS, len(flat)), device=flat.device)
    flat = flat[picked.long()].float()[None]
    return _stats(flat, flat > -1e4)


def _stats(logits: Tensor, allowed: Tensor) -> AttentionStats | None:
    logits = logits.masked_fill(~allowed, -math.inf)
    counts = allowed.sum(-1)
    useful = counts > 1
    if not bool(useful.any()):  # masked down to one key
        single = bool((counts == 1).all()) and logits.shape[-2] > 1
        largest = float(logits.masked_fill(~allowed, 0).abs().max())
        return AttentionStats(largest, 0.0, int(logits.shape[-1]), 0) if single else None
    log_weights = torch.log_softmax(logits, -1)
    weights = log_weights.exp()
    terms = torch.where(weights > 0, weights * log_weights, torch.zeros_like(weights))
    entropy = -terms.sum(-1)[useful] / counts[useful].float().log()
    return AttentionStats(
        float(logits.masked_fill(~allowed, 0).abs().max()),
        float(entropy.mean()),
        int(logits.shape[-1]),
        int(useful.sum()),
        causal=int(counts.min()) == 1 and int(counts.max()) == logits.shape[-1],
    )


def _unravelled(flat: Tensor, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """`torch.unravel_index`, whose first call imports sympy."""
    out: list[Any] = []
    for size in reversed(shape):
        out.append(flat % size)
        flat = flat // size
    return tuple(reversed(out)) or (None,)


def _bind(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**dict(zip(_NAMES, args, strict=False)), **kwargs}
