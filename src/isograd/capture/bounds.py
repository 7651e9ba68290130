"""What an op can put out at all: the interval of its values, whatever its weights are.

An activation bounds its output, and arithmetic with constants moves and scales that interval
(interval arithmetic; Moore, 1966). A layer with weights can put out anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from isograd.capture import kinds
from isograd.capture.draft import Draft

Interval = tuple[float, float]

_ANY = (-math.inf, math.inf)
_RANGES: dict[str, Interval] = {
    "relu": (0.0, math.inf),
    "relu6": (0.0, 6.0),
    "sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "log_softmax": (-math.inf, 0.0),
    "logsigmoid": (-math.inf, 0.0),
    "tanh": (-1.0, 1.0),
    "erf": (-1.0, 1.0),
    "sin": (-1.0, 1.0),
    "cos": (-1.0, 1.0),
    "softplus": (0.0, math.inf),
    "exp": (0.0, math.inf),
    "abs": (0.0, math.inf),
    "square": (0.0, math.inf),
    "norm": (0.0, math.inf),
    "hardtanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "hardsigmoid": (0.0, 1.0),
    # Least values of x * Phi(x) and x * sigmoid(x).
    "gelu": (-0.17, math.inf),
    "silu": (-0.2785, math.inf),
}
_SCALES: dict[str, Callable[[float, float], float]] = {
    "mul": lambda x, c: x * c if c else 0.0,
    "rmul": lambda x, c: x * c if c else 0.0,
    "div": lambda x, c: x / c if c else math.nan,
    "truediv": lambda x, c: x / c if c else math.nan,
    "add": lambda x, c: x + c,
    "radd": lambda x, c: x + c,
    "sub": lambda x, c: x - c,
    "rsub": lambda x, c: c - x,
}
_CLAMPS = ("clamp", "clip", "clamp_min", "clamp_max", "hardtanh")


def bounds(
    draft: Draft, inputs: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Interval | None:
    """Interval of an op's values, or None if it can put out anything.

    Args:
        draft: The op, with its sources.
        inputs: Its tensor inputs.
        args: Positional arguments.
        kwargs: Keyword arguments.
    """
    name = draft.name.strip("_")
    source = draft.sources[0].bounds if len(draft.sources) == 1 else None
    if name in _CLAMPS:
        return _clamped(name, source or _ANY, args[1:], kwargs)
    if name == "elu":
        alpha = kwargs.get("alpha", args[1] if len(args) > 1 else 1.0)
        return -float(alpha), math.inf
    if name in _RANGES and not draft.parameter:
        return _RANGES[name]
    if name == "pow":
        power = args[1] if len(args) > 1 else kwargs.get("exponent")
        return (0.0, math.inf) if isinstance(power, int | float) and power % 2 == 0 else None
    if source is None:
        return None
    if draft.name in kinds.MOVES:
        return source
    if name == "neg":
        return -source[1], -source[0]
    constant = _constant(args)
    if name not in _SCALES or constant is None or kwargs:
        return None
    ends = sorted(_SCALES[name](end, constant) for end in source)
    return None if any(math.isnan(end) for end in ends) else (ends[0], ends[1])


def _constant(args: tuple[Any, ...]) -> float | None:
    """The number that a tensor is combined with, if it is one."""
    if len(args) != 2 or not isinstance(args[0], Tensor) or not args[0].requires_grad:
        return None
    other = args[1]
    if isinstance(other, Tensor):
        return float(other) if other.numel() == 1 and not other.requires_grad else None
    return float(other) if isinstance(other, int | float) else None


def _clamped(
    name: str, source: Interval, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Interval | None:
    default = (-1.0, 1.0) if name == "hardtanh" else (None, None)
    low = args[0] if args else kwargs.get("min", kwargs.get("min_val", default[0]))
    high = args[1] if len(args) > 1 else kwargs.get("max", kwargs.get("max_val", default[1]))
    if name == "clamp_max":
        low, high = None, args[0] if args else kwargs.get("max")
    ends = []
    for limit, edge, pick in ((low, source[0], max), (high, source[1], min)):
        if limit is not None and not isinstance(limit, int | float):
            return None  # one limit for each entry
        ends.append(edge if limit is None else pick(edge, float(limit)))
    return None if (ends[0], ends[1]) == _ANY else (ends[0], ends[1])
