"""G702: the loss jumps, and what moved first.

What it checks:
    The first step at which the loss is five times the median of its past, or not finite, and
    what was out of its own history there or just before: the size of the inputs, of the targets,
    or the learning rate.

Why it matters:
    A jump has a cause one step before it. A batch in other units and a schedule that jumps look
    alike in the loss and have different remedies.

When it is wrong:
    Inputs whose size varies by its nature, from batch to batch, do so from the first step on and
    are no jump against their own history.

What to do:
    A batch: find and clean it, or clip the gradient norm. A rate: smooth the schedule.

References:
    Chowdhery et al. (2022, PaLM, section 5.1); Wortsman et al. (2023).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.records.finding import Cause
from isograd.rules.case import Case
from isograd.rules.trend import JUMP, MOVED, jump, moved

CODE = "G702"
EXPLAINS = ("G106", "G301", "G303", "G308", "G402", "G601", "G701", "G103")
REQUIRES = ("training",)


def check(case: Case) -> Iterator[Finding]:
    """One finding for the first jump whose origin is seen."""
    training = case.training
    if training is None:
        return
    at = jump(training.loss, JUMP)
    if at is None:
        return
    if case.located and at < len(training.loss) and not math.isfinite(training.loss[at]):
        return  # G601 names the op
    candidates: tuple[tuple[str, Cause, tuple[float, ...], str], ...] = (
        ("size of the inputs", "data", training.inputs, _BATCH),
        ("size of the targets", "data", training.targets, _BATCH),
        ("learning rate", "learning-rate", training.learning_rate, _RATE),
    )
    for name, cause, values, advice in candidates:
        factor = moved(values[: at + 1], min(at, len(values) - 1)) if len(values) > 1 else 1.0
        if factor > MOVED:
            yield Finding(
                CODE,
                f"the loss jumps at step {at}; what moved first: the {name}, to "
                f"{factor:.3g} times its past",
                "error",
                cause,
                evidence=(
                    Evidence(f"{name} / its past median", factor, "", MOVED),
                    Evidence("loss at the jump", training.loss[at], "", None),
                ),
                advice=(advice, "clip the gradient norm so that one step cannot undo the others"),
                confidence=0.85,
                step=at,
            )
            return


_BATCH = "look at the batch of that step: its numbers are in other units than those before"
_RATE = "smooth the schedule: the rate must not jump"

# Chinese for the texts above, by template.
ZH = {
    "the loss jumps at step {n}; what moved first: the {name}, to {x} times its past": (
        "损失在第 {n} 步跳变；最先变化的是{name}，为其以往的 {x} 倍"
    ),
    "{name} / its past median": "{name} / 其以往的中位数",
    "size of the inputs": "输入的大小",
    "size of the targets": "目标的大小",
    "learning rate": "学习率",
    "loss at the jump": "跳变时的损失",
    "look at the batch of that step: its numbers are in other units than those before": (
        "检查那一步的批次：其数值单位与之前不同"
    ),
    "smooth the schedule: the rate must not jump": "让学习率变化平滑：不应跳变",
    "clip the gradient norm so that one step cannot undo the others": (
        "裁剪梯度范数，使单独一步不至于毁掉其余各步"
    ),
}
