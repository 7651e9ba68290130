"""Numbers of a call's arguments that a law needs: eps, padding, mask, spread of a row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

# Masks are written as very negative numbers rather than -inf by some libraries.
_MASKED = -1e4
_ROWS = 4096


def read(name: str, args: Any, kwargs: dict[str, Any], out: Tensor) -> dict[str, Any]:
    """What the law of a call needs besides moments; empty if nothing.

    Args:
        name: Name of the call.
        args: Its arguments.
        kwargs: By name.
        out: Its first output.

    Returns:
        Numbers by name; `unread` if an argument has a form that no law covers.
    """
    reader = _READERS.get(name)
    return {} if reader is None else reader(args, kwargs, out)


def argument(args: Sequence[Any], kwargs: dict[str, Any], at: int, name: str, default: Any) -> Any:
    """An argument by position or name."""
    return args[at] if len(args) > at else kwargs.get(name, default)


def _harmonic(variance: Tensor, eps: float) -> float:
    """The one variance whose factor 1/(var + eps) is the mean of theirs."""
    return max(1 / float((1 / (variance.double() + eps)).mean()) - eps, 0.0)


def _scale(weight: Any) -> float:
    return 1.0 if not isinstance(weight, Tensor) else float(weight.double().square().mean())


def _layer_norm(args: Any, kwargs: Any, out: Tensor) -> dict[str, Any]:
    data, shape = args[0], argument(args, kwargs, 1, "normalized_shape", ())
    dims = list(range(-len(tuple(shape)), 0))
    eps = float(argument(args, kwargs, 4, "eps", 1e-5))
    variance = data.var(dims, correction=0)
    return {
        "count": math.prod(shape),
        "eps": eps,
        "variance": _harmonic(variance, eps),
        "scale": _scale(argument(args, kwargs, 2, "weight", None)),
    }


def _rms_norm(args: Any, kwargs: Any, out: Tensor) -> dict[str, Any]:
    data, shape = args[0], argument(args, kwargs, 1, "normalized_shape", ())
    dims = list(range(-len(tuple(shape)), 0))
    eps = argument(args, kwargs, 3, "eps", None)
    eps = float(torch.finfo(data.dtype).eps if eps is None else eps)
    return {
        "count": math.prod(shape),
        "eps": eps,
        "variance": _harmonic(data.square().mean(dims), eps),
        "scale": _scale(argument(args, kwargs, 2, "weight", None)),
    }


def _group_norm(args: Any, kwargs: Any, out: Tensor) -> dict[str, Any]:
    # instance_norm is a group norm with one channel in each group.
    data, groups = args[0], argument(args, kwargs, 1, "num_groups", 1)
    eps = float(argument(args, kwargs, 4, "eps", 1e-5))
    rows = data.reshape(data.shape[0] * groups, -1)
    return {
        "count": rows.shape[1],
        "channels": data.shape[1] // groups,
        "eps": eps,
        "variance": _harmonic(rows.var(1, correction=0), eps),
        "scale": _scale(argument(args, kwargs, 2, "weight", None)),
    }


def _batch_norm(args: Any, kwargs: Any, out: Tensor) -> dict[str, Any]:
    # In training the output is known and the input may be gone; it is read all the same.
    data = args[0]
    training = bool(argument(args, kwargs, 5, "training", False))
    eps = float(argument(args, kwargs, 7, "eps", 1e-5))
    weight = argument(args, kwargs, 3, "weight", None)
    facts = {"count": data.numel() // data.shape[1], "eps": eps, "training": training}
    if training:
        others = [d for d in range(data.dim()) if d != 1]
        variance = data.var(others, correction=0)
        facts |= {"variance": _harmonic(variance, eps), "scale": _scale(weight)}
    else:
        running = argument(args, kwargs, 2, "running_var", None)
        one = torch.ones_like(running) if weight is None else weight
        facts |= {"fixed": float((one.double().square() / (running.double() + eps)).mean())}
    return facts


def _dropout(args: Any, kwargs: Any, out: Tensor) -> dict[str, Any]:
    training = bool(argument(args, kwargs, 2, "training", True))
    return {"p": float(argument(args, kwargs, 1, "p", 0.5)) if training else 0.0}


def _activation(*names: str) -> Callable[[Any, Any, Tensor], dict[str, Any]]:
    def read(args: Any, kwargs: Any, out: Tensor) -> dict[str, Any]:
        found = {}
        for position, name in enumerate(names, start=1):
            value = argument(args, kwargs, position, name, None)
            if isinstance(value, Tensor):
                value = float(value.mean())
            if value is not None and not isinstance(value, bool):
                found[name] = value
        return {"parameters": found}

    return read


def _softmax(args: Any, kwargs: Any, out: Tensor) -> dict[str, Any]:
    logits = args[0].detach().float()
    dim = argument(args, kwargs, 1, "dim", -1)
    rows = logits.movedim(dim, -1).reshape(-1, logits.shape[dim])
    return _rows(rows[:: max(1, len(rows) // _ROWS)])


def _rows(rows: Tensor) -> dict[str, Any]:
    """Open entries per row and the variance of their logits, by number of open entries."""
    open_ = rows > _MASKED + rows.amax(1, keepdim=True)
    counts = open_.sum(1)
    kept = torch.where(open_, rows, torch.zeros_like(rows))
    mean = kept.sum(1) / counts
    spread = (torch.where(open_, rows - mean[:, None], torch.zeros_like(rows))).square().sum(1)
    sizes, places = counts.unique(return_inverse=True)
    # n logits scatter by (n - 1)/n of their variance around their own mean.
    variance = float(spread.sum() / (counts - 1).clamp(min=0).sum().clamp(min=1))
    shares = torch.bincount(places).double() / len(rows)
    return {
        "columns": rows.shape[1],
        "sizes": tuple(zip(sizes.tolist(), shares.tolist(), strict=True)),
        "variance": variance,
    }


def _attention(args: Any, kwargs: Any, out: Tensor) -> dict[str, Any]:
    query, key = args[0], args[1]
    rows, columns = query.shape[-2], key.shape[-2]
    mask = argument(args, kwargs, 3, "attn_mask", None)
    scale = kwargs.get("scale")
    scale = float(scale) if scale is not None else query.shape[-1] ** -0.5
    if argument(args, kwargs, 5, "is_causal", False):
        sizes = {min(i + 1, columns): 1 / rows for i in range(rows)}
    elif mask is not None:
        allowed = mask if mask.dtype is torch.bool else mask > _MASKED
        found, places = allowed.sum(-1).reshape(-1).unique(return_inverse=True)
        shares = torch.bincount(places).double() / places.numel()
        sizes = dict(zip(found.tolist(), shares.tolist(), strict=True))
    else:
        sizes = {columns: 1.0}
    p = float(argument(args, kwargs, 4, "dropout_p", 0.0))
    return {"sizes": tuple(sizes.items()), "width": query.shape[-1], "scale": scale, "p": p}


def _pad(args: Any, kwargs: Any, out: Tensor) -> dict[str, Any]:
    # Other modes repeat entries of the input, so that nothing of the gradient is dropped.
    constant = argument(args, kwargs, 2, "mode", "constant") == "constant"
    return {"input": args[0].numel() if constant else out.numel()}


def _constant(args: Any, kwargs: Any, out: Tensor) -> dict[str, Any]:
    """Numbers among the first two arguments of arithmetic."""
    if kwargs.get("alpha", 1) != 1 or kwargs.get("rounding_mode") is not None:
        return {"unread": True}
    found = [value for value in args[:2] if isinstance(value, int | float)]
    return {"constant": float(found[0]), "first": not isinstance(args[0], Tensor)} if found else {}


def _matmul(args: Any, kwargs: Any, out: Tensor) -> dict[str, Any]:
    return {"inner": args[0].shape[-1]} if isinstance(args[0], Tensor) else {}


def _mask(args: Any, kwargs: Any, out: Tensor) -> dict[str, Any]:
    mask = args[0] if args[0].dtype is torch.bool else args[1]
    share = float(mask.expand(out.shape).float().mean()) if mask.numel() else 0.0
    return {"share": share}


def _average_pool(args: Any, kwargs: Any, out: Tensor) -> dict[str, Any]:
    kernel = argument(args, kwargs, 1, "kernel_size", 1)
    padding = argument(args, kwargs, 3, "padding", 0)
    padded = any(padding) if isinstance(padding, tuple | list) else padding
    if padded or not isinstance(kernel, int) or out.dim() < 3:
        # Taps in the padding, or a window that is no cube: the shapes do not tell the share.
        return {"unread": True}
    return {"kernel": kernel, "dimensions": out.dim() - 2}


def _adaptive_pool(args: Any, kwargs: Any, out: Tensor) -> dict[str, Any]:
    data = args[0]
    ratios = [n / m for n, m in zip(data.shape, out.shape, strict=True)]
    if any(ratio != int(ratio) for ratio in ratios):
        return {"unread": True}  # windows overlap
    return {"input": data.numel()}


def _input_numel(args: Any, kwargs: Any, out: Tensor) -> dict[str, Any]:
    return {"input": args[0].numel()}


_ARITHMETIC = "add __add__ __iadd__ __radd__ sub __sub__ __isub__ __rsub__ mul __mul__ __imul__ "
_DIVISIONS = "__rmul__ multiply div __truediv__ __itruediv__ __rtruediv__ pow __pow__"
_READERS: dict[str, Callable[[Any, Any, Tensor], dict[str, Any]]] = {
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "batch_norm": _batch_norm,
    "dropout": _dropout,
    "softmax": _softmax,
    "scaled_dot_product_attention": _attention,
    "leaky_relu": _activation("slope"),
    "prelu": _activation("slope"),
    "elu": _activation("alpha"),
    "celu": _activation("alpha"),
    "softplus": _activation("beta"),
    "hardtanh": _activation("min_val", "max_val"),
    "softshrink": _activation("lambd"),
    "gelu": lambda args, kwargs, out: {"approximate": kwargs.get("approximate", "none")},
    "clamp": _activation("min", "max"),
    "clamp_min": _activation("min"),
    "masked_fill": _mask,
    "where": _mask,
    **dict.fromkeys(("matmul", "__matmul__", "bmm", "mm"), _matmul),
    **dict.fromkeys((_ARITHMETIC + _DIVISIONS).split(), _constant),
    **dict.fromkeys(("mean", "sum"), _input_numel),
    "pad": _pad,
    **dict.fromkeys((f"avg_pool{d}d" for d in (1, 2, 3)), _average_pool),
    **dict.fromkeys((f"adaptive_avg_pool{d}d" for d in (1, 2, 3)), _adaptive_pool),
}
