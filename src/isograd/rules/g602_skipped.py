"""G602: no optimizer step is ever taken.

What it checks:
    Whether the optimizer stepped at all while whole iterations of the user's loop ran.

Why it matters:
    A loss scaler skips a step whose scaled gradient overflows; if it starts far too high, it
    skips them all for a long time.

When it is wrong:
    A loop that accumulates over more iterations than were run.

What to do:
    Start the loss scaler lower, or look at why gradients are not finite.

References:
    Micikevicius et al. (2018).
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.rules.case import Case

CODE = "G602"
EXPLAINS = ("G402", "G606")
REQUIRES: tuple[str, ...] = ()
NO_STEP = "the optimizer took no step"


def check(case: Case) -> Iterator[Finding]:
    """One finding if iterations ran and nothing stepped."""
    training = case.training
    if training is None or training.stopped != NO_STEP:
        return
    yield Finding(
        CODE,
        "the optimizer took no step: every one was skipped",
        "error",
        "precision",
        evidence=(Evidence("steps taken", 0, "steps", 1),),
        advice=(
            "start the loss scaler at a lower scale (`GradScaler(init_scale=2.0**12)`)",
            "check that the loop calls `optimizer.step()`",
        ),
        confidence=0.85,
    )


# Chinese for the texts above, by template.
ZH = {
    "the optimizer took no step: every one was skipped": "优化器一步也没有走：全部被跳过",
    "steps taken": "已走步数",
    "start the loss scaler at a lower scale (`GradScaler(init_scale=2.0**12)`)": (
        "让损失缩放从更低的值开始（`GradScaler(init_scale=2.0**12)`）"
    ),
    "check that the loop calls `optimizer.step()`": "检查循环是否调用了 `optimizer.step()`",
}
