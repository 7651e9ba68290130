"""Weights as the theory sees them: how many inputs, how large, at which borders."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from isograd.capture import kinds


@dataclass(frozen=True, slots=True)
class Weight:
    """The weight of one call.

    Attributes:
        name: Name of the parameter.
        mean_square: Of its entries.
        numel: Number of entries.
        shape: As torch stores it, `[out, in, ...]` where the call has it so.
        links: Mean number of inputs that an output element sums; less than fan_in at borders.
        energy: ||J||_F^2 / n_out: gain^2 for white noise.
        width: Output units.
        transposed: True if torch stores `[in, out, ...]`.
        shared: What padding leaves of a mean over pixels, relative to what it leaves of squares.
        embedding: True if it is a table of embeddings.
        bias: Mean square of the bias; None without one.
        bias_numel: Entries of the bias.
        rule: Name of the init rule; "" before `specified`.
        matched: True if the weight has the variance of that rule.
    """

    name: str
    mean_square: float
    numel: int
    shape: tuple[int, ...]
    links: float
    energy: float
    width: int
    transposed: bool = False
    shared: float = 1.0
    embedding: bool = False
    bias: float | None = None
    bias_numel: int = 0
    rule: str = ""
    matched: bool = False


def weight_of(
    name: str, args: Any, kwargs: dict[str, Any], out: Tensor, parameter: str | None
) -> Weight | None:
    """The weight a call applies to data, or None.

    Args:
        name: Name of the call.
        args: Its arguments.
        kwargs: By name.
        out: Its output.
        parameter: Name of the parameter among its inputs.
    """
    if parameter is None:
        return None
    if name == "embedding":
        weight = args[1]
        return replace(_plain(parameter, weight, 1, 1.0), embedding=True)
    at = kinds.LAYERS.get(name)
    if at is None or name == "bilinear":
        return None
    weight = args[at] if len(args) > at else kwargs.get("weight", kwargs.get("mat2"))
    if not isinstance(weight, Tensor) or weight.dim() < 2:
        return None
    bias = args[at + 1] if len(args) > at + 1 else kwargs.get("bias")
    if name == "addmm":
        bias = args[0]
    if name.startswith("conv"):
        made = _convolution(name, parameter, weight, args, kwargs, out)
    elif name == "linear":
        made = _plain(parameter, weight, weight.shape[0], float(weight.shape[1]))
    else:  # x @ W with W [in, out]
        if weight.dim() != 2:
            return None
        made = _plain(parameter, weight, weight.shape[1], float(weight.shape[0]))
        made = replace(made, transposed=True)
        bias = bias if name == "addmm" else None
    if isinstance(bias, Tensor):
        square = _mean_square(bias)
        made = replace(made, bias=square, bias_numel=bias.numel())
    return made


def _mean_square(tensor: Tensor) -> float:
    return float(tensor.detach().abs().double().square().mean())


def _plain(parameter: str, weight: Tensor, width: int, links: float) -> Weight:
    square = _mean_square(weight)
    shape = tuple(weight.shape)
    return Weight(parameter, square, weight.numel(), shape, links, square * links, width)


def _convolution(
    name: str, parameter: str, weight: Tensor, args: Any, kwargs: dict[str, Any], out: Tensor
) -> Weight:
    """The weight of a convolution; a tap in the padding reaches no input."""
    transposed = "transpose" in name
    spatial = weight.dim() - 2
    data = args[0] if args else kwargs["input"]

    def option(at: int, key: str, default: Any) -> tuple[Any, ...]:
        value = args[at] if len(args) > at else kwargs.get(key, default)
        return (value,) * spatial if isinstance(value, int) else tuple(value)

    stride = option(3, "stride", 1)
    padding: Any = args[4] if len(args) > 4 else kwargs.get("padding", 0)
    dilation = option(7 if transposed else 5, "dilation", 1)
    taps = tuple(weight.shape[2:])
    if padding == "valid":
        before: tuple[int, ...] = (0,) * spatial
    elif padding == "same":
        before = tuple(d * (k - 1) // 2 for d, k in zip(dilation, taps, strict=True))
    else:
        before = option(4, "padding", 0)
    inner, outer = (t.shape[-spatial:] for t in ((out, data) if transposed else (data, out)))
    counts = [
        [
            sum(0 <= o * stride[d] - before[d] + t * dilation[d] < inner[d] for o in range(n))
            for t in range(taps[d])
        ]
        for d, n in enumerate(outer)
    ]
    squares = weight.detach().abs().double().square().sum((0, 1))
    pixels = math.prod(out.shape[-spatial:])
    energy = links = twice = 0.0
    for tap in itertools.product(*(range(k) for k in taps)):
        share = math.prod(counts[d][t] for d, t in enumerate(tap)) / pixels
        energy += share * float(squares[tap])
        links += share
        twice += share * share
    groups = int(args[6] if len(args) > 6 else kwargs.get("groups", 1))
    channels = weight.shape[1] * groups if transposed else weight.shape[0]
    entries = weight.numel() // math.prod(taps)  # of one tap
    square = float(squares.sum()) / weight.numel()
    return Weight(
        parameter,
        square,
        weight.numel(),
        tuple(weight.shape),
        links * entries / channels,
        energy / channels,
        channels,
        transposed,
        shared=twice / links if links else 1.0,
    )
