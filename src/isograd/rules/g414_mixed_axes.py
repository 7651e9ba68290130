"""G414: a view hands logits to the loss with classes and positions mixed.

What it checks:
    The views between the last layer and a loss over classes. The entries of one sample's logits
    keep their distance in memory if a view only joins or splits other axes; a view of (B, T, C)
    as (B, C, T), or of (B, C, H, W) as (B * H * W, C), gives the class axis another one. Chains
    with a transposition, a slice or anything but views are not judged.

Why it matters:
    The shapes fit, so nothing raises, and the loss compares numbers of one position and many
    classes as if they were the classes of another position. The net still learns the frequencies
    of classes, so that the loss falls for a while.

When it is wrong:
    If the output of the last layer is meant to be read in that order: name its axes so, and
    make the layer that wide.

What to do:
    `transpose(1, 2)` (or `permute`) in place of the view, or before it.

References:
    The documentation of torch.Tensor.view and torch.nn.CrossEntropyLoss.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isograd.records import Evidence, Finding, LossCall
from isograd.rules.case import Case

CODE = "G414"
EXPLAINS = ("G301", "G303", "G402", "G408", "G409")
REQUIRES: tuple[str, ...] = ()

# What leaves the order of the entries in memory; `contiguous` stands behind a transposition only
# where there is one, and a chain with one is not judged.
_VIEWS = frozenset("view reshape flatten unflatten view_as contiguous squeeze unsqueeze".split())
_ENTRYWISE = frozenset(("log_softmax",))


def check(case: Case) -> Iterator[Finding]:
    """One finding for each loss over classes whose class axis a view has mixed."""
    for call in case.snapshot.losses:
        if call.name not in ("cross_entropy", "nll_loss") or len(call.input_shape) < 2:
            continue
        shape, axis = _made(case, call)
        if not shape or shape[axis] != call.input_shape[1] or call.input_shape[1] < 2:
            continue
        before, after = math.prod(shape[axis:][1:]), math.prod(call.input_shape[2:])
        if before != after and math.prod(shape) == math.prod(call.input_shape):
            yield Finding(
                CODE,
                f"a view of {shape} as {call.input_shape} in front of `{call.name}` mixes classes "
                "with positions",
                "error",
                "loss-shape",
                where=(call.name,),
                source=case.snapshot.ops[call.op].source or call.source,
                evidence=(
                    Evidence("distance of two classes in memory", after, "entries", float(before)),
                ),
                advice=(
                    "move the axis of the classes with `transpose` or `permute`; a view cannot",
                ),
                confidence=0.95,
            )


def _made(case: Case, call: LossCall) -> tuple[tuple[int, ...], int]:
    """Shape of what the last layer put out, and its axis of classes; () if it cannot be told."""
    ops, index = case.snapshot.ops, call.op
    while True:
        sources = ops[index].sources
        if len(sources) != 1:
            return (), 0
        index = sources[0]
        op = ops[index]
        if index in case.layer_ops:
            shape = op.output.shape if op.output else ()
            if op.name == "linear" and len(shape) > 1:
                return shape, len(shape) - 1
            return (shape, 1) if op.name.startswith("conv") and len(shape) > 2 else ((), 0)
        if op.name not in _VIEWS | _ENTRYWISE:
            return (), 0


# Chinese for the texts above, by template.
ZH = {
    "a view of {a} as {b} in front of `{name}` mixes classes with positions": (
        "`{name}` 之前把 {a} 变形为 {b}，混淆了类别与位置"
    ),
    "distance of two classes in memory": "两个类别在内存中的间隔",
    "move the axis of the classes with `transpose` or `permute`; a view cannot": (
        "用 `transpose` 或 `permute` 移动类别轴；变形做不到"
    ),
}
