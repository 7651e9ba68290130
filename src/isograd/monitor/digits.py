"""Where digits of the inputs are lost before a layer reads them, and a twin that keeps them.

Preparing a batch is arithmetic without a gradient: no op of the graph shows it. Integers wrap
around (a difference of two uint8 images), large numbers lose their phase (a time stamp in float32
modulo five minutes), and a cast to half precision hides both from what comes after it.
"""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from isograd.capture.places import _short, user_frame
from isograd.capture.probe import Step, call_step
from isograd.capture.rng import RandomState
from isograd.errors import IsogradError
from isograd.monitor.changes import Change

_HALF = (torch.float16, torch.bfloat16)
_FLOATS = (*_HALF, torch.float32)
_SMALL = (torch.uint8, torch.int8, torch.int16, torch.int32)
_CASTS = (Tensor.half, Tensor.bfloat16, Tensor.float)
_ARITHMETIC = frozenset("add sub rsub mul neg square pow sum cumsum diff abs".split())
_DIFFERENCES = frozenset(("sub", "rsub"))
_TURNS = frozenset("sin cos".split())
_REMAINDERS = frozenset("remainder fmod mod".split())
# A value that is known to a twentieth of a period still has a phase.
PHASE = 0.05


@dataclass
class Digits:
    """What one forward pass does to digits.

    Attributes:
        half: The dtype of the first call that returns a tensor in half precision, or "".
        lost: Kind (`wraps`, `difference` if floats are made of unsigned integers that went below
            0, or `phase`), op, dtype and source line of each place, by kind, op and
            line; the value is the share of wrong entries, or of a period that is rounded away.
    """

    half: str = ""
    lost: dict[tuple[str, str, str, str], float] = field(
        default_factory=dict[tuple[str, str, str, str], float]
    )


class _Look(TorchFunctionMode):
    def __init__(self, seen: Digits) -> None:
        super().__init__()
        self._seen = seen
        self._wrapped: list[tuple[Tensor, str, str, float]] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run the call and look at what came out."""
        out = func(*args, **(kwargs or {}))
        if not isinstance(out, Tensor) or out.numel() == 0:
            return out
        if out.dtype in _HALF and not self._seen.half:
            self._seen.half = str(out.dtype).removeprefix("torch.")
        if out.is_floating_point():
            self._made_of(args)
        name = getattr(func, "__name__", "")
        if not name.startswith("__") and name.endswith("_"):
            return out  # its argument is overwritten
        name = name.strip("_")
        if out.dtype in _SMALL and name in _ARITHMETIC:
            # In exact arithmetic; an answer that differs has wrapped around.
            exact = func(*tree_map(_long, args), **(kwargs or {}))
            share = float((exact != out).double().mean())
            source = self._note("wraps", name, out, share, 0.0)
            if share > 0 and name in _DIFFERENCES and out.dtype == torch.uint8:
                self._wrapped.append((out, name, source, share))
        elif name in _TURNS or name in _REMAINDERS:
            self._phase(name, args)
        return out

    def _made_of(self, args: tuple[Any, ...]) -> None:
        """Unsigned integers that went below 0 are read as numbers: no hash, no index."""
        for tensor, name, source, share in self._wrapped:
            if any(arg is tensor for arg in args):
                self._seen.lost.pop(("wraps", name, "uint8", source), None)
                self._seen.lost["difference", name, "uint8", source] = share

    def _phase(self, name: str, args: tuple[Any, ...]) -> None:
        value = args[0]
        if not isinstance(value, Tensor) or value.dtype not in _FLOATS:
            return
        period: Any = 2 * math.pi if name in _TURNS else args[1] if len(args) > 1 else None
        if isinstance(period, Tensor):
            period = float(period.detach().abs().min()) if period.numel() else None
        if not isinstance(period, int | float) or not period:
            return
        size = float(value.detach().double().abs().median())
        if not 0 < size < math.inf:
            return
        ulp = torch.finfo(value.dtype).eps * 2.0 ** math.floor(math.log2(size))
        self._note("phase", name, value, ulp / abs(period), PHASE)

    def _note(self, kind: str, name: str, at: Tensor, share: float, above: float) -> str:
        if share > above:
            frame = user_frame(sys._getframe(2))
            source = f"{_short(frame.f_code.co_filename)}:{frame.f_lineno}" if frame else ""
            key = (kind, name, str(at.dtype).removeprefix("torch."), source)
            self._seen.lost[key] = max(share, self._seen.lost.get(key, 0.0))
            return source
        return ""


def digits(model: nn.Module, step: Step) -> Digits:
    """One forward pass of a copy, looked at; empty if it raises."""
    seen = Digits()
    generators = RandomState()
    try:
        twin = copy.deepcopy(model)
        with torch.no_grad(), _Look(seen):
            call_step(step, twin)
    except (IsogradError, RuntimeError, TypeError):
        return Digits(seen.half)
    finally:
        generators.restore()
    return seen


def exact(seen: Digits) -> Iterator[Change]:
    """The same training in float64 and in integers that do not wrap, where digits are lost."""
    if seen.lost:
        (kind, op, dtype, source), share = max(seen.lost.items(), key=lambda item: item[1])
        yield Change("digits", _exactly, share, "|".join((kind, op, dtype, source)))


class _Exact(TorchFunctionMode):
    """Every number is read in float64, and integers are added and multiplied in int64."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run the call on wider numbers."""
        name = getattr(func, "__name__", "")
        in_place = not name.startswith("__") and name.endswith("_")
        wide: tuple[Any, ...] = tuple(tree_map(_double, list(args)))
        if in_place and args:
            wide = (args[0], *wide[1:])
        named = cast("dict[str, Any]", tree_map(_double, kwargs or {}))
        if func in _CASTS:
            return wide[0].double()
        if name.strip("_") in _ARITHMETIC and not in_place:
            small = [t for t in tree_leaves(wide) if isinstance(t, Tensor)]
            if all(t.dtype in _SMALL for t in small):
                wide = tuple(tree_map(_long, list(wide)))
        return func(*wide, **named)


def _double(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.double() if value.dtype in _FLOATS else value
    return torch.float64 if isinstance(value, torch.dtype) and value in _FLOATS else value


def _long(value: Any) -> Any:
    return value.long() if isinstance(value, Tensor) and value.dtype in _SMALL else value


@contextmanager
def _exactly(twin: nn.Module, trainer: torch.optim.Optimizer) -> Iterator[None]:
    twin.double()
    for state in trainer.state.values():
        for key, value in state.items():
            state[key] = _double(value)
    with _Exact():
        yield
