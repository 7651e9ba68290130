"""G404: regression targets are far from what the net puts out, shown by replay.

What it checks:
    Where targets are ten times larger than the outputs at the start, the same training with the
    output in the targets' units (their mean and standard deviation), which is the same as
    standardised targets. If it ends far lower, their scale is the cause.

Why it matters:
    A squared error of targets of 1000 has gradients a thousand times larger, and an adaptive
    optimizer needs thousands of steps to get there.

When it is wrong:
    Large targets that the net reaches by itself: then the replay is no better.

What to do:
    Standardise the targets, and scale predictions back.

References:
    LeCun et al. (1998).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.rules import proof
from isograd.rules.case import Case

CODE = "G404"
EXPLAINS = ("G112", "G301", "G303", "G308", "G402", "G601")
REQUIRES = ("training",)

# Without a replay, targets this many times larger than what the net puts out.
FAR = 10.0


def check(case: Case) -> Iterator[Finding]:
    """One finding if standardised targets train far better."""
    replay = proof.proved(case, "targets")
    if replay is None:
        if proof.unproved(case):
            yield from _unproved(case)
        return
    call = next((c for c in case.snapshot.losses if abs(c.target.std - replay.factor) == 0), None)
    mean = call.target.mean if call else 0.0
    yield Finding(
        CODE,
        f"targets are far from unit scale (mean {mean:.3g}, standard deviation "
        f"{replay.factor:.3g}): standardised, the loss ends at {replay.end():.3g}",
        "error",
        "data",
        where=(call.name,) if call else (),
        source=call.source if call else None,
        evidence=(
            *proof.evidence(case, replay),
            Evidence("standard deviation of the targets", replay.factor, "", 1.0),
        ),
        advice=(
            "standardise the targets, and scale predictions back",
            "or start the output layer's bias at the targets' mean",
        ),
        confidence=0.9,
    )


def _unproved(case: Case) -> Iterator[Finding]:
    """In a loop that cannot be run again, the scale itself where the net does not learn."""
    for call in case.snapshot.losses:
        if not math.isfinite(call.target.std):
            continue
        size = math.hypot(call.target.mean, call.target.std)
        reach = max(1.0, math.hypot(call.prediction.mean, call.prediction.std))
        if call.integer_target or size < FAR * reach:
            continue
        yield Finding(
            CODE,
            f"targets are far from unit scale (mean {call.target.mean:.3g}, standard deviation "
            f"{call.target.std:.3g}), and the net does not learn",
            "error",
            "data",
            where=(call.name,),
            source=call.source,
            evidence=(Evidence("size of the targets / of the outputs", size / reach, "", FAR),),
            advice=("standardise the targets, and scale predictions back",),
            confidence=0.6,
        )
        return


# Chinese for the texts above, by template.
ZH = {
    "targets are far from unit scale (mean {m}, standard deviation {s}), and the net does not "
    "learn": "目标值远离单位尺度（均值 {m}，标准差 {s}），且网络没有在学习",
    "size of the targets / of the outputs": "目标值大小 / 输出大小",
    **proof.ZH,
    "targets are far from unit scale (mean {m}, standard deviation {s}): standardised, the loss "
    "ends at {a}": "目标值远离单位尺度（均值 {m}，标准差 {s}）：标准化之后损失降到 {a}",
    "standard deviation of the targets": "目标值的标准差",
    "standardise the targets, and scale predictions back": "把目标值标准化，并把预测值换算回去",
    "or start the output layer's bias at the targets' mean": "或让输出层偏置从目标均值开始",
}
