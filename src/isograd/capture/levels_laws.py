"""gain^2 of one op by theory, towards each tensor it read, for white noise.

Every law is of the total squared norm. What an op is called decides which law holds; an op that
is not here has none, and is measured only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from isograd.capture import kinds, levels_activations
from isograd.capture.levels_facts import Call, Moments
from isograd.capture.levels_softmax import logit_variance, rows_mean
from isograd.capture.levels_weights import Weight
from isograd.theory import (
    average_pool_gain_squared,
    batch_norm_gain_squared,
    dropout_gain_squared,
    layer_norm_gain_squared,
    max_pool_gain_squared,
    rms_norm_gain_squared,
)

Gains = list[float | None]
# Each output entry is one input entry: a gather, whose transpose keeps the energy of white noise.
MOVES = frozenset(
    "view reshape flatten unflatten transpose permute t T mT H mH contiguous unsqueeze squeeze "
    "expand expand_as repeat repeat_interleave chunk split "
    "tensor_split unbind select narrow index_select gather take_along_dim __getitem__ index roll "
    "flip to type type_as float double half bfloat16 clone unfold pixel_shuffle movedim swapaxes "
    "diagonal view_as broadcast_to alias cpu cuda neg __neg__ abs masked_select "
    "channel_shuffle".split()
)
JOINS = frozenset("cat concat concatenate stack hstack vstack".split())
_SUMS = kinds.ADDS
_PRODUCTS = kinds.MULS | {"multiply"}
DIVISIONS = frozenset("div __truediv__ __itruediv__".split())
_MAX_POOLS = frozenset(
    "max_pool1d max_pool2d max_pool3d adaptive_max_pool1d adaptive_max_pool2d max_pool1d_"
    "with_indices max_pool2d_with_indices boolean_dispatch amax".split()
)
_MEANS = frozenset("mean adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d".split())
_MATMULS = frozenset("matmul __matmul__ bmm mm".split())


def gains_squared(
    call: Call, moments: Sequence[Moments | None], weight: Weight | None, *, planned: bool
) -> Gains:
    """gain^2 towards each operand, or None where there is no theory.

    Args:
        call: The op.
        moments: Of its operands: measured (L1) or carried from the data (L0).
        weight: Its weight: measured (L1) or as its init rule draws it (L0).
        planned: True for L0: norms then take the variance from `moments`, and their scale is 1.

    Returns:
        One number for each operand; None for parameters, constants, and where there is no law.
    """
    n = len(call.operands)
    if call.facts.get("unread"):
        return [None] * n
    name = call.name
    if weight is not None:
        return [None if operand.parameter else weight.energy for operand in call.operands]
    law = _LAWS.get(name)
    if law is not None:
        return law(call, moments, planned)
    if name in MOVES:
        return [1.0] * n
    if name in JOINS:  # white noise falls on each part by its size
        sizes = [m.numel if m is not None else 0 for m in moments]
        return [size / max(call.numel, 1) for size in sizes]
    if name in _MAX_POOLS:
        return [max_pool_gain_squared()] * n
    if "kernel" in call.facts:
        return [
            average_pool_gain_squared(call.facts["kernel"], dimensions=call.facts["dimensions"])
        ]
    if name in _MEANS:  # each of k inputs gets 1/k of its output's gradient
        return [call.numel / max(call.facts.get("input", call.numel), 1)] * n
    if name == "sum":
        return [call.facts.get("input", call.numel) / max(call.numel, 1)] * n
    if name == "pad":  # the gradient of a constant border is dropped
        return [min(call.facts.get("input", call.numel) / max(call.numel, 1), 1.0)] * n
    if name in _SUMS:
        return [1.0] * n
    if name in _PRODUCTS:
        return _product(call, moments)
    if name in DIVISIONS:
        return _division(call, moments)
    if name in _MATMULS:
        return _matmul(call, moments)
    if norm_class(call):
        return [_rms_module(call, moments[0], planned)]
    activation = levels_activations.activation_of(call)
    if activation is None:
        return [None] * n
    return [
        None if m is None or operand.parameter else levels_activations.gain_squared(activation, m)
        for operand, m in zip(call.operands, moments, strict=True)
    ]


def norm_class(call: Call) -> bool:
    """True if the call stands for a whole module that divides by the root mean square."""
    name = call.name.lower()
    return name.startswith("module:") and ("rmsnorm" in name or name == "module:t5layernorm")


def norm_variance(call: Call, moments: Moments | None, planned: bool) -> float | None:
    """What a norm divides by the root of: measured per row, or of the carried moments."""
    if not planned:
        return call.facts["variance"]
    if moments is None:
        return None
    if call.name == "batch_norm":
        return max(moments.second - moments.pair, 0.0)
    if call.name == "rms_norm":
        return moments.second
    if call.name == "group_norm" and call.facts["channels"] < 8:
        return None  # the mean of few channels is no average over weights
    return moments.variance


def _norm(call: Call, moments: Sequence[Moments | None], planned: bool) -> Gains:
    rest: Gains = [None] * (len(call.operands) - 1)
    facts = call.facts
    if "fixed" in facts:
        return [1 / (1 + facts["eps"]) if planned else facts["fixed"], *rest]
    variance = norm_variance(call, moments[0], planned)
    if variance is None or variance + facts["eps"] == 0:
        return [None, *rest]
    scale = 1.0 if planned else facts["scale"]
    law: Callable[..., float] = layer_norm_gain_squared
    if call.name == "batch_norm":
        law = batch_norm_gain_squared
    elif call.name == "rms_norm":
        law = rms_norm_gain_squared
    if facts["count"] < 2:
        return [None, *rest]
    return [scale * law(facts["count"], variance, eps=facts["eps"]), *rest]


def _rms_module(call: Call, moments: Moments | None, planned: bool) -> float | None:
    if moments is None or call.output is None or moments.second == 0 or "count" not in call.facts:
        return None
    scale = 1.0 if planned else call.output.second
    # The scale's mean square is that of the output, which is normalised without it.
    return scale * (1 - 1 / call.facts["count"]) / moments.second


def _dropout(call: Call, moments: Sequence[Moments | None], planned: bool) -> Gains:
    p = call.facts["p"]
    return [dropout_gain_squared(p) if p < 1 else 0.0] + [None] * (len(call.operands) - 1)


def _masked(call: Call, moments: Sequence[Moments | None], planned: bool) -> Gains:
    share = call.facts["share"]
    if call.name == "masked_fill":
        return [1 - share, *[None] * (len(call.operands) - 1)]
    # where(condition, x, y): the condition itself has no gradient
    shares = [share, 1 - share]
    data = call.operands[1:]
    return [None, *shares[: len(data)]]


def _product(call: Call, moments: Sequence[Moments | None]) -> Gains:
    if "constant" in call.facts:
        return [call.facts["constant"] ** 2]
    if len(moments) < 2:
        return [None] * len(moments)
    a, b = moments[0], moments[1]
    return [None if b is None else b.second, None if a is None else a.second]


def _division(call: Call, moments: Sequence[Moments | None]) -> Gains:
    constant = call.facts.get("constant")
    if constant is not None and not call.facts["first"] and constant != 0:
        return [1 / constant**2]
    by = moments[1] if len(moments) == 2 else None
    if by is not None and by.numel == 1 and by.second > 0:
        return [1 / by.second, None]  # one number, kept in a tensor
    return [None] * len(moments)


def _matmul(call: Call, moments: Sequence[Moments | None]) -> Gains:
    a, b = call.operands
    left, right = moments
    if a.moments is None or b.moments is None or left is None or right is None:
        return [None, None]
    # [m, k] @ [k, n]: towards A ||B||_F^2 / n = k E b^2, towards B ||A||_F^2 / m = k E a^2
    inner = call.facts["inner"]
    return [inner * right.second, inner * left.second]


def _power(call: Call, moments: Sequence[Moments | None], planned: bool) -> Gains:
    found = moments[0]
    if call.facts.get("constant") != 2 or call.facts["first"] or found is None:
        return [None] * len(moments)
    return [4 * found.second]


def _softmax(call: Call, moments: Sequence[Moments | None], planned: bool) -> Gains:
    facts = call.facts
    rows = rows_mean(facts["sizes"], facts["variance"], lambda row: row.jacobian_norm_squared)
    return [rows / facts["columns"]]


def _attention(call: Call, moments: Sequence[Moments | None], planned: bool) -> Gains:
    """Towards q, k and v of fused attention.

    Towards v the mean of sum p^2 over rows. Towards q and k the gradient first meets v, whose part
    common to all tokens a softmax takes out, then the softmax, then k or q.
    """
    q, k, v = moments[:3]
    rest: Gains = [None] * (len(call.operands) - 3)
    if q is None or k is None or v is None:
        return [None, None, None, *rest]
    facts = call.facts
    strength = facts["scale"] ** 2 * facts["width"]
    own_k, own_v = max(k.second - k.pair, 0.0), max(v.second - v.pair, 0.0)
    logits = logit_variance(call, moments)
    kept = dropout_gain_squared(facts["p"])
    collision = rows_mean(facts["sizes"], logits, lambda row: row.collision)
    jacobian = rows_mean(facts["sizes"], logits, lambda row: row.jacobian_norm_squared)
    through = jacobian * own_v * strength * kept
    return [through * own_k, through * q.second, collision * kept, *rest]


_LAWS: dict[str, Callable[[Call, Sequence[Moments | None], bool], Gains]] = {
    "layer_norm": _norm,
    "rms_norm": _norm,
    "group_norm": _norm,
    "batch_norm": _norm,
    "dropout": _dropout,
    "masked_fill": _masked,
    "where": _masked,
    "softmax": _softmax,
    "scaled_dot_product_attention": _attention,
    "pow": _power,
    "__pow__": _power,
}
