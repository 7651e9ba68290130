"""Follows NaN and infinity from op to op, to the op that first made them.

Memory, not tensors, is followed: views and saved tensors share it. What a later op hides (a
mask, `where`, `nan_to_num`) is forgotten there, so only what reaches the loss, a gradient or a
weight is blamed. A mask's -inf is no fault; the op that makes something else of it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from isograd.capture.sites import Site
from isograd.records.bad_step import Phase, TensorRange, Waypoint

# They put a given value somewhere: an infinity there is meant.
_CONSTANTS = frozenset(
    "masked_fill masked_fill_ fill fill_ full full_like new_full scalar_tensor index_fill "
    "index_fill_ where lift_fresh constant_pad_nd masked_scatter masked_scatter_".split()
)
# What a mask of -inf is for; from outside of the step only these are taken to want it.
_SOFTMAX = ("softmax", "attention", "logsumexp", "nll_loss", "cross_entropy")
_TRAIL = 6
_NOWHERE = Site()


@dataclass(frozen=True, slots=True)
class Origin:
    """An op, or a tensor from outside of the step, where it began."""

    number: int
    phase: Phase
    kind: str
    op: str = ""
    call: str = ""
    node: str = ""
    site: Site = _NOWHERE
    tensor: str = ""
    inputs: tuple[TensorRange, ...] = ()
    output: TensorRange | None = None
    scalars: tuple[str, ...] = ()
    note: str = ""
    meant: bool = False
    outside: bool = False


@dataclass(frozen=True, slots=True)
class Taint:
    """Why some memory is not finite."""

    origin: Origin
    kind: str
    trail: tuple[Waypoint, ...] = ()


def kind_of(seen: TensorRange) -> str:
    """`nan`, `inf` or "" for what a range shows."""
    return "nan" if seen.nan else "" if seen.finite else "inf"


def inherited(new: Origin, inputs: list[tuple[Taint, TensorRange]]) -> Taint:
    """Why the output of an op is not finite.

    Args:
        new: The op that runs, as if it were to blame.
        inputs: Its inputs that are not finite, and why.
    """
    constant = new.op in _CONSTANTS and new.kind == "inf" and new.output is not None
    if not inputs:
        return Taint(replace(new, meant=constant), new.kind)
    faulty = [(t, s) for t, s in inputs if not (t.origin.meant and _only_inf(s))]
    if new.kind == "nan":  # what was NaN before comes first
        faulty = [(t, s) for t, s in faulty if s.nan] or faulty
    if faulty:
        taint = min((t for t, _ in faulty), key=lambda t: t.origin.number)
        return _led_on(taint, new)
    taint = min((t for t, _ in inputs), key=lambda t: t.origin.number)
    used = new.kind == "nan" or _reduces(new, inputs)
    wants = any(word in new.op for word in _SOFTMAX)
    if not used or constant:
        return Taint(taint.origin, new.kind, taint.trail)
    if taint.origin.outside and not wants:
        return _led_on(taint, new)
    where = taint.origin.site.source or taint.origin.tensor
    note = f"the infinite entries of its input were put there on purpose ({where})"
    return Taint(replace(new, note=note), new.kind)


def _led_on(taint: Taint, new: Origin) -> Taint:
    last = taint.trail[-1] if taint.trail else None
    before = (last.kind, last.phase) if last else (taint.origin.kind, taint.origin.phase)
    if (new.kind, new.phase) == before or len(taint.trail) >= _TRAIL:
        return Taint(taint.origin, new.kind, taint.trail)
    point = Waypoint(new.call or new.op, new.site.source, new.kind, new.phase)
    return Taint(taint.origin, new.kind, (*taint.trail, point))


def _only_inf(seen: TensorRange) -> bool:
    return not seen.nan


def _reduces(new: Origin, inputs: list[tuple[Taint, TensorRange]]) -> bool:
    assert new.output is not None
    return new.output.size < max(seen.size for _, seen in inputs)
