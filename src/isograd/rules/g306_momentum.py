"""G306: a momentum of 1 or more.

What it checks:
    The optimizer's momentum (SGD) or beta_1 (Adam family).

Why it matters:
    The running sum of gradients never forgets: at 1 it grows with every step, above 1 by itself.

When it is wrong:
    Never: no method uses such a value.

What to do:
    Use 0.9.

References:
    Polyak (1964); Sutskever et al. (2013).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from statistics import median

from isograd.records import Evidence, Finding, Training
from isograd.records.training import Replay
from isograd.rules import proof
from isograd.rules.case import Case

CODE = "G306"
EXPLAINS = ("G301", "G303", "G308")
REQUIRES = ("training",)
LIMIT = 1.0
# A memory of a hundred steps and more; and a loss that rises again this many times over.
LONG = 0.99
SWING = 2.0


def check(case: Case) -> Iterator[Finding]:
    """One finding if the momentum does not decay."""
    facts = case.training.optimizer if case.training else None
    if facts is None or case.training is None:
        return
    if facts.momentum < LIMIT:
        replay = proof.proved(case, "momentum")
        if replay is not None and proof.specific(case) is replay:
            yield _proved(case, replay, facts.momentum)
        else:
            yield from _swings(case, case.training, facts.momentum)
        return
    yield Finding(
        CODE,
        f"momentum {facts.momentum:g} of {facts.name} never forgets a gradient",
        "error",
        "learning-rate",
        evidence=(Evidence("momentum", facts.momentum, "", LIMIT),),
        advice=("use a momentum of 0.9",),
        confidence=0.99,
    )


def _proved(case: Case, replay: Replay, momentum: float) -> Finding:
    return Finding(
        CODE,
        f"momentum {momentum:g} remembers {1 / (1 - momentum):.0f} steps: at 0.9 the loss ends at "
        f"{replay.end():.3g}",
        "error",
        "learning-rate",
        evidence=(Evidence("momentum", momentum, "", LONG), *proof.evidence(case, replay)),
        advice=("use a momentum of 0.9",),
        confidence=0.85,
    )


def _swings(case: Case, training: Training, momentum: float) -> Iterator[Finding]:
    """A momentum that swings through the valley and up the other side."""
    if momentum < LONG or len(training.loss) < 10:
        return
    smooth = [median(training.loss[i : i + 3]) for i in range(len(training.loss) - 2)]
    low = list(accumulate(smooth, min))
    best = max(range(len(smooth)), key=lambda i: smooth[i] / max(low[i], 1e-300))
    if low[best] <= 0 or smooth[best] < SWING * low[best]:
        return
    yield Finding(
        CODE,
        f"momentum {momentum:g} remembers {1 / (1 - momentum):.0f} steps and swings: the loss "
        f"falls to {low[best]:.3g} and rises again to {smooth[best]:.3g}",
        "error",
        "learning-rate",
        evidence=(
            Evidence("momentum", momentum, "", LONG),
            Evidence("rise after the best loss", smooth[best] / low[best], "", SWING),
        ),
        advice=("use a momentum of 0.9",),
        confidence=0.8,
    )


# Chinese for the texts above, by template.
ZH = {
    **proof.ZH,
    "momentum {m} remembers {n} steps: at 0.9 the loss ends at {a}": (
        "动量 {m} 记住 {n} 步：改为 0.9 时损失降到 {a}"
    ),
    "momentum {m} remembers {n} steps and swings: the loss falls to {a} and rises again to {b}": (
        "动量 {m} 记住 {n} 步并来回摆动：损失降到 {a} 后又升到 {b}"
    ),
    "rise after the best loss": "最低损失之后的回升",
    "momentum {m} of {name} never forgets a gradient": "{name} 的动量 {m} 永远不会遗忘梯度",
    "momentum": "动量",
    "use a momentum of 0.9": "使用 0.9 的动量",
}
