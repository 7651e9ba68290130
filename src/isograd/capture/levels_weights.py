"""Weights as the theory sees them: how many inputs, how large, drawn by which rule."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from torch import Tensor, nn

from isograd.capture import kinds
from isograd.theory import (
    fans,
    gpt2_projection_scale,
    kaiming_variance,
    lecun_variance,
    orthogonal_variance,
    torch_default_variance,
    xavier_variance,
)

T = TypeVar("T")
# A draw's mean square scatters by at most sqrt(2 / n) of itself; five of that, and rounding.
_SIGMAS, _ROUNDING = 5.0, 0.005


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


def specified(weight: Weight, module: nn.Module | None, config: Any) -> Weight:
    """The same weight as its init rule draws it.

    The rule is the usual one whose variance the weight has; if none has it, the documented
    default of the module's class, and `matched` is False.

    Args:
        weight: As measured.
        module: The module that holds it.
        config: The model's `config`, which in Hugging Face's models names a standard deviation.
    """
    tolerance = _tolerance(weight)
    rules = _rules(weight, module, config)
    default = next(iter(rules))
    off = {rule: abs(_log(variance, weight.mean_square)) for rule, variance in rules.items()}
    near = default if off[default] <= tolerance else min(off, key=lambda rule: off[rule])
    matched = off[near] <= tolerance
    rule = near if matched else default
    variance = rules[rule]
    bias = weight.bias
    if bias:  # zero stays: biases are set to zero by most rules
        usual = torch_default_variance(max(_fans(weight)[0], 1))
        loose = _SIGMAS * math.sqrt(2 / max(weight.bias_numel, 1)) + _ROUNDING
        choices = [v for v in (usual, 1.0) if abs(_log(v, bias)) <= loose]
        plain = isinstance(module, nn.Linear | nn.modules.conv._ConvNd) and rule == "torch default"
        bias = choices[0] if choices else (usual if plain else 0.0)
    return replace(
        weight,
        mean_square=variance,
        energy=variance * weight.links,
        bias=bias,
        rule=rule,
        matched=matched,
    )


def shared_rules(real: Mapping[T, Weight], planned: Mapping[T, Weight]) -> dict[T, Weight]:
    """Planned weights, with a rule of the user's own where several weights agree on one.

    Weights that training moved do not agree to within the scatter of a draw; those that one rule
    drew do, be it a variance times fan_in or a plain standard deviation.

    Args:
        real: As measured.
        planned: What `specified` made of each.
    """
    out = dict(planned)
    for name, unit in (("Var W = {:.3g} / fan_in", True), ("N(0, {:.3g}²)", False)):
        odd = {key: w for key, w in real.items() if not (out[key].matched or w.embedding)}
        sizes = {key: w.mean_square * (_fans(w)[0] if unit else 1) for key, w in odd.items()}
        if not sizes:
            break
        middle = sorted(sizes.values())[len(sizes) // 2]
        near = [key for key, w in odd.items() if abs(_log(sizes[key], middle)) <= 2 * _tolerance(w)]
        if len({odd[key].name for key in near}) < 2:
            continue
        for key in near:
            variance = middle / (_fans(odd[key])[0] if unit else 1)
            rule = name.format(middle if unit else math.sqrt(middle))
            energy = variance * odd[key].links
            out[key] = replace(
                out[key], mean_square=variance, energy=energy, rule=rule, matched=True
            )
    return out


def _tolerance(weight: Weight) -> float:
    return _SIGMAS * math.sqrt(2 / weight.numel) + _ROUNDING


def _rules(weight: Weight, module: nn.Module | None, config: Any) -> dict[str, float]:
    """Variances of the usual rules; the default of the class comes first."""
    std = getattr(config, "initializer_range", None)
    own: dict[str, float] = {}
    if isinstance(std, int | float) and std > 0:
        own[f"N(0, {std:g}²)"] = float(std) ** 2
        blocks = next(
            (n for key in ("num_hidden_layers", "n_layer") if (n := getattr(config, key, None))), 0
        )
        if blocks and not weight.embedding:
            scaled = float(std) * gpt2_projection_scale(int(blocks))
            own[f"N(0, {std:g}²) / (2 · {blocks} blocks)"] = scaled**2
    if weight.embedding:
        return {**own, "N(0, 1)": 1.0, "N(0, 0.02²)": 0.02**2}
    fan_in, fan_out = _fans(weight)
    rows = weight.width
    columns = weight.numel // rows
    default = {"torch default": torch_default_variance(fan_in)}
    usual = {
        "kaiming, relu": kaiming_variance(fan_in),
        "kaiming, fan_out": kaiming_variance(fan_in, fan_out, mode="fan_out"),
        "1 / fan_in": lecun_variance(fan_in),
        "xavier": xavier_variance(fan_in, fan_out),
        "xavier, gain 5/3 (tanh)": xavier_variance(fan_in, fan_out, 5 / 3),
        "orthogonal": orthogonal_variance(rows, columns),
        "orthogonal, gain √2": orthogonal_variance(rows, columns, math.sqrt(2)),
        "N(0, 0.02²)": 0.02**2,
        "N(0, 1)": 1.0,
    }
    return {**own, **default, **usual} if own else {**default, **usual}


def _fans(weight: Weight) -> tuple[int, int]:
    shape = weight.shape
    if weight.transposed and len(shape) == 2:
        shape = shape[::-1]
    return fans(shape, as_torch=True) if len(shape) > 1 else (1, 1)


def _log(a: float, b: float) -> float:
    return math.inf if a <= 0 or b <= 0 else math.log(a / b)


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
