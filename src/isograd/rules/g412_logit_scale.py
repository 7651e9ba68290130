"""G412: logits of a scale at which the loss has no slope, shown by replay.

What it checks:
    Where a short training fails and the logits that enter a cross-entropy start a hundred times
    smaller or thirty times larger than one, the same training with the model's output scaled to
    a fresh layer's. If that one learns, the scale (a temperature, a gain) is the cause.

Why it matters:
    Logits near 0 give every class the same probability, whatever the net says, and a gradient
    that is as small as they are. Logits of hundreds make every answer certain: the loss is
    linear in them and its gradient does not depend on how wrong they are.

When it is wrong:
    An output layer that starts at zero or small on purpose learns, and nothing is replayed.

What to do:
    A temperature between 0.05 and 10; check whether it divides where it should multiply.

References:
    Hinton et al. (2015) on temperatures; Guo et al. (2017) on the scale of logits.
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.rules import proof
from isograd.rules.case import Case

CODE = "G412"
EXPLAINS = ("G301", "G303", "G307", "G308", "G402", "G409")
REQUIRES = ("training",)


def check(case: Case) -> Iterator[Finding]:
    """One finding if the training learns with outputs of unit scale."""
    replay = proof.proved(case, "logits")
    if replay is None or proof.specific(case) is not replay:
        return
    call = next((c for c in case.snapshot.losses if c.prediction.std == replay.factor), None)
    yield Finding(
        CODE,
        f"logits start at a standard deviation of {replay.factor:.3g}: at a usual one the loss "
        f"ends at {replay.end():.3g}",
        "error",
        "loss-head",
        where=(call.name,) if call else (),
        source=call.source if call else None,
        evidence=(
            *proof.evidence(case, replay),
            Evidence("standard deviation of the logits", replay.factor, "", 1.0),
        ),
        advice=("check the temperature or gain between the last layer and the loss",),
        confidence=0.85,
    )


# Chinese for the texts above, by template.
ZH = {
    **proof.ZH,
    "logits start at a standard deviation of {x}: at a usual one the loss ends at {a}": (
        "logits 起始的标准差为 {x}：改为通常的值时损失降到 {a}"
    ),
    "standard deviation of the logits": "logits 的标准差",
    "check the temperature or gain between the last layer and the loss": (
        "检查最后一层与损失之间的温度或增益"
    ),
}
