"""Which init rule drew a weight, read off its variance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from torch import nn

from isograd.capture.levels_weights import Weight
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
    # A weight on its way from one rule may pass another: that one has to fit better.
    matched = off[near] <= (tolerance if near == default else 0.6 * tolerance)
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
