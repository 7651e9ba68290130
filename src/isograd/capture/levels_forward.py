"""Moments carried from the data through the net as its init rules draw it: the forward of L0."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from isograd.capture import kinds, levels_activations, levels_laws, levels_softmax
from isograd.capture.draft import Draft
from isograd.capture.levels_facts import Call, Moments
from isograd.capture.levels_weights import Weight

_KEEP = levels_laws.MOVES - {"neg", "__neg__", "abs"}


def carried(
    calls: Iterable[Call], weights: Mapping[Draft, Weight]
) -> tuple[dict[Draft, Moments], frozenset[Draft]]:
    """Moments of every op's output at L0.

    Args:
        calls: In the order of execution.
        weights: As their init rules draw them.

    Returns:
        The moments, and the ops behind which there is no law: there the measured moments are
        taken, and carried on.
    """
    states: dict[Draft, Moments] = {}
    restarted: set[Draft] = set()
    for call in calls:
        inputs = inputs_of(call, states)
        made = _forward(call, inputs, weights.get(call.draft))
        if made is None:
            if call.output is None:
                continue
            made = call.output
            restarted.add(call.draft)
        states[call.draft] = made
    return states, frozenset(restarted)


def inputs_of(call: Call, states: Mapping[Draft, Moments]) -> list[Moments | None]:
    """Carried moments of what a call read; measured ones of data and constants."""
    return [
        operand.moments if operand.source is None else states.get(operand.source, operand.moments)
        for operand in call.operands
    ]


def _forward(call: Call, inputs: Sequence[Moments | None], weight: Weight | None) -> Moments | None:
    if call.facts.get("unread") or not inputs:
        return None
    name, size = call.name, call.numel
    if weight is not None:
        return _weighted(call, inputs, weight)
    first = inputs[0]
    if name in _KEEP:
        return first and Moments(first.mean, first.second, first.pair, size)
    if name in levels_laws.JOINS:
        return _mixture([m for m in inputs if m is not None], size)
    if name in kinds.ADDS:
        return _sum(call, inputs, size)
    if name in kinds.MULS or name == "multiply":
        return _product(call, inputs, size)
    if name in levels_laws.DIVISIONS and call.facts.get("constant"):
        factor = 1 / call.facts["constant"]
        return first and _scaled(first, factor, size)
    if name == "dropout":
        p = call.facts["p"]
        return first and Moments(first.mean, first.second / max(1 - p, 1e-9), first.pair, size)
    if name in ("layer_norm", "rms_norm", "group_norm", "batch_norm"):
        return _normalised(call, first, size)
    if levels_laws.norm_class(call):
        return first and _scaled(first, first.second**-0.5 if first.second else 0.0, size)
    if name == "scaled_dot_product_attention":
        return _attention(call, inputs, size)
    activation = levels_activations.activation_of(call)
    if activation is None or first is None:
        return None
    made = levels_activations.passed(activation, first)
    return Moments(made.mean, made.second, made.pair, size)


def _weighted(call: Call, inputs: Sequence[Moments | None], weight: Weight) -> Moments | None:
    if weight.embedding:
        if call.output is None or call.output.second == 0:
            return None
        # How often the same token comes is a matter of the data.
        shared = call.output.pair / call.output.second
        return Moments(0.0, weight.mean_square, shared * weight.mean_square, call.numel)
    data = [
        m
        for operand, m in zip(call.operands, inputs, strict=True)
        if operand.parameter is None and m is not None
    ]
    if not data:
        return None
    bias = weight.bias or 0.0
    return Moments(
        0.0,
        weight.energy * data[0].second + bias,
        weight.energy * weight.shared * data[0].pair + bias,
        call.numel,
    )


def _sum(call: Call, inputs: Sequence[Moments | None], size: int) -> Moments | None:
    if "constant" in call.facts or len(inputs) != 2:
        return None
    a, b = inputs
    if a is None or b is None:
        return None
    sign = -1.0 if "sub" in call.name else 1.0
    both = 2 * sign * a.mean * b.mean
    return Moments(a.mean + sign * b.mean, a.second + b.second + both, a.pair + b.pair + both, size)


def _product(call: Call, inputs: Sequence[Moments | None], size: int) -> Moments | None:
    a = inputs[0]
    if a is None:
        return None
    if "constant" in call.facts:
        return _scaled(a, call.facts["constant"], size)
    b = inputs[1] if len(inputs) == 2 else None
    if b is None:
        return None
    return Moments(a.mean * b.mean, a.second * b.second, a.pair * b.pair, size)


def _scaled(m: Moments, factor: float, size: int) -> Moments:
    return Moments(factor * m.mean, factor**2 * m.second, factor**2 * m.pair, size)


def _mixture(parts: Sequence[Moments], size: int) -> Moments | None:
    total = sum(part.numel for part in parts)
    if not total:
        return None

    def mean(name: str) -> float:
        return sum(getattr(part, name) * part.numel for part in parts) / total

    return Moments(mean("mean"), mean("second"), mean("pair"), size)


def _normalised(call: Call, m: Moments | None, size: int) -> Moments | None:
    if m is None:
        return None
    if "fixed" in call.facts:
        return _scaled(m, (1 + call.facts["eps"]) ** -0.5, size)
    variance = levels_laws.norm_variance(call, m, True)
    if variance is None or variance + call.facts["eps"] == 0:
        return None
    divisor = variance + call.facts["eps"]
    if call.name == "rms_norm":
        return _scaled(m, divisor**-0.5, size)
    if call.name == "batch_norm":
        return Moments(0.0, variance / divisor, 0.0, size)
    return Moments(0.0, variance / divisor, max(m.pair - m.mean**2, 0.0) / divisor, size)


def _attention(call: Call, inputs: Sequence[Moments | None], size: int) -> Moments | None:
    if len(inputs) < 3 or any(m is None for m in inputs[:3]):
        return None
    value = inputs[2]
    assert value is not None
    logits = levels_softmax.logit_variance(call, inputs)
    collision = levels_softmax.rows_mean(call.facts["sizes"], logits, lambda row: row.collision)
    second = value.pair + (value.second - value.pair) * collision
    return Moments(value.mean, second, value.pair, size)
