"""G504: a later step of the training raises an error of autograd.

What it checks:
    Whether a step of the short training raised because a graph was walked a second time, or
    because something that the backward pass needs was overwritten.

Why it matters:
    A tensor with a graph that is kept from one step to the next (a hidden state, a running loss,
    a cached feature) drags the last step's graph along.

When it is wrong:
    Never for these two errors; others that a step raises are shown as they are.

What to do:
    `detach()` what is carried from one batch to the next, or compute it anew; write out of place.

References:
    The autograd notes of PyTorch on graphs and in-place operations.
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.rules.case import Case

CODE = "G504"
EXPLAINS = ("G301", "G303", "G402", "G408", "G602")
REQUIRES: tuple[str, ...] = ()

_SECOND = "second time"
_WRITTEN = "modified by an inplace operation"


def check(case: Case) -> Iterator[Finding]:
    """One finding if the training stopped with such an error."""
    training = case.training
    if training is None or "raised" not in training.stopped:
        return
    kept, written = _SECOND in training.stopped, _WRITTEN in training.stopped
    if not (kept or written):
        return
    step = len(training.loss)
    title = (
        f"step {step} walks the graph of the step before a second time"
        if kept
        else f"step {step} overwrites in place what its backward pass needs"
    )
    yield Finding(
        CODE,
        title,
        "error",
        "graph-cut",
        evidence=(Evidence("steps taken before", step, "steps"),),
        advice=(
            ("`detach()` what is carried from one step to the next, such as a hidden state",)
            if kept
            else ("write out of place, or after the backward pass",)
        ),
        confidence=0.95,
    )


# Chinese for the texts above, by template.
ZH = {
    "step {n} walks the graph of the step before a second time": "第 {n} 步再次经过上一步的计算图",
    "step {n} overwrites in place what its backward pass needs": (
        "第 {n} 步原地改写了其反向传播所需的值"
    ),
    "steps taken before": "此前已走的步数",
    "`detach()` what is carried from one step to the next, such as a hidden state": (
        "对跨步保留的量（如隐藏状态）调用 `detach()`"
    ),
    "write out of place, or after the backward pass": "不要原地写入，或在反向传播之后写入",
}
