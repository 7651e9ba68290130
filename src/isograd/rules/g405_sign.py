"""G405: the loss is maximised.

What it checks:
    The gradient that arrives at the result of a loss function. It is the weight with which that
    loss enters what is returned: below 0 the step climbs it.

Why it matters:
    The optimizer goes downhill on what it is given; with the sign turned the net unlearns.

When it is wrong:
    An adversary is meant to climb the loss of its opponent. Only a step in which no loss
    function has a positive weight is an alarm.

What to do:
    Leave out the minus.

References:
    Goodfellow et al. (2014) for losses that are climbed on purpose.
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.rules.case import Case

CODE = "G405"
EXPLAINS = ("G301", "G303", "G307", "G308", "G402")
REQUIRES: tuple[str, ...] = ()


def check(case: Case) -> Iterator[Finding]:
    """One finding if every loss function is climbed."""
    calls = [c for c in case.snapshot.losses if c.weight is not None]
    if not calls or any((c.weight or 0.0) >= 0 for c in calls):
        return
    call = calls[0]
    yield Finding(
        CODE,
        f"wrong sign: `{call.name}` is maximised",
        "error",
        "loss-head",
        where=(call.name,),
        source=call.source,
        evidence=(
            Evidence("weight of the loss function", call.weight or 0.0, "", 0.0, "its gradient"),
        ),
        advice=("leave out the minus in front of the loss",),
        confidence=0.95,
    )


# Chinese for the texts above, by template.
ZH = {
    "wrong sign: `{name}` is maximised": "符号错误：`{name}` 在被最大化",
    "weight of the loss function": "损失函数的权重",
    "its gradient": "其梯度",
    "leave out the minus in front of the loss": "去掉损失前面的负号",
}
