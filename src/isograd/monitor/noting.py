"""Which torch calls of a loop a tape notes, and how."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from isograd.monitor.tape import NOT_NOTED

# Seconds that passing a call through a mode takes besides our own code.
MODE = 1.5e-6
# What a gradient scaler does before a step, or before it leaves the step out.
UNSCALES = "_amp_foreach_non_finite_check_and_unscale_"
_NOT_NOTED = NOT_NOTED - {"register_hook", "retain_grad", "requires_grad_"}
# What is asked for most.
_PASSED = frozenset(
    getattr(Tensor, name).__get__
    for name in "grad shape device dtype requires_grad is_leaf".split()
)
_WRITES = frozenset(
    "__setitem__ __iadd__ __isub__ __imul__ __itruediv__ __ifloordiv__ __imod__ __ipow__ "
    "__iand__ __ior__ __ixor__ register_hook retain_grad".split()
)
_DRAWS = (
    "rand normal bernoulli multinomial dropout uniform exponential poisson cauchy geometric "
    "rrelu gumbel scaled_dot_product_attention multi_head_attention rnn lstm gru".split()
)


def is_passed(func: Any) -> bool:
    """True for a getter that is asked for all the time and makes no tensor."""
    return func in _PASSED


def not_noted(name: str) -> bool:
    """True for a call that makes no tensor."""
    return name in _NOT_NOTED


def writes(name: str) -> bool:
    """True for a call that changes its first argument."""
    return name in _WRITES or (name.endswith("_") and not name.endswith("__"))


def draws(name: str) -> bool:
    """True for a call that may use a generator."""
    return bool(name) and any(word in name for word in _DRAWS)


def name_of(func: Any) -> str:
    """Name of a torch function; a getter's own."""
    name = getattr(func, "__name__", "")
    if name == "__get__":
        getter = getattr(getattr(func, "__self__", None), "__name__", "")
        return getter if getter in ("T", "mT", "H", "mH", "real", "imag", "data") else "item"
    return name
