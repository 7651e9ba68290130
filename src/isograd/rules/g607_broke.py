"""G607: a step was not finite after calm ones, and where it began is not known.

What it checks:
    A training whose loss or gradient became NaN or infinite at a step that was not kept, although
    loss, weights and updates were calm up to it.

Why it matters:
    It is no divergence: a smaller learning rate does not help. One op met numbers it cannot take.

When it is wrong:
    A rate that explodes within a single step looks the same; the op that overflows then shows it.

What to do:
    `isograd replay RUN --again` runs the program up to that step and names the op; or keep every
    step: `isograd run --replay`, `isograd.watch(..., replay=True)`.

References:
    Goldberg (1991), What every computer scientist should know about floating-point arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.rules.case import Case
from isograd.rules.trend import broke_in_calm, largest_update

CODE = "G607"
EXPLAINS = ("G301", "G308", "G402", "G702")
REQUIRES = ("training",)

HALF = ("float16", "bfloat16")


def check(case: Case) -> Iterator[Finding]:
    """One finding if a calm training broke and nobody saw where."""
    training = case.training
    if training is None or case.located or training.broke is not None:
        return
    if not math.isfinite(case.snapshot.loss) or not broke_in_calm(training):
        return
    bad = training.bad
    step = bad.step if bad is not None and bad.step is not None else len(training.loss) - 1
    before = [loss for loss in training.loss if math.isfinite(loss)]
    half = any(op.output and op.output.dtype in HALF for op in case.snapshot.ops)
    yield Finding(
        CODE,
        f"step {step} was not finite after {len(before)} calm ones; where it began was not kept",
        "error",
        "precision" if half else "numerics",
        evidence=(
            Evidence("loss before it", before[-1]),
            Evidence("largest update ratio", largest_update(training), "", 1.0),
        ),
        advice=(
            "find the op: `isograd replay RUN --again`, or keep every step with `--replay`",
            "look for a logarithm, root or division that meets 0, and at that step's batch",
        ),
        confidence=0.7,
        step=step,
    )


# Chinese for the texts above, by template.
ZH = {
    "step {n} was not finite after {m} calm ones; where it began was not kept": (
        "第 {n} 步出现非有限值，此前 {m} 步平稳；起点未被保留"
    ),
    "loss before it": "此前的损失",
    "largest update ratio": "最大更新比",
    "find the op: `isograd replay RUN --again`, or keep every step with `--replay`": (
        "查找算子：`isograd replay RUN --again`，或用 `--replay` 保留每一步"
    ),
    "look for a logarithm, root or division that meets 0, and at that step's batch": (
        "检查遇到 0 的对数、开方或除法，以及该步的批次"
    ),
}
