"""G411: an activation on the logits keeps the loss high.

What it checks:
    Where a short training goes badly, the least cross-entropy that is within reach of the
    activation (or clamp) that made the logits, against the loss of a guess.

Why it matters:
    Logits of ten classes between -1 and 1 give the right class 0.45 at most: the loss stops at
    0.80, and the gradient pushes the layer below into saturation.

When it is wrong:
    A soft cap such as `30 * tanh(x / 30)` reaches far enough and is left alone, and so is a net
    that halves its loss.

What to do:
    Leave the last activation out; scale logits that must be bounded (a temperature).

References:
    Bridle (1990) on softmax outputs; Wang et al. (2017, NormFace) on the bound for cosine logits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.rules.case import Case

CODE = "G411"
EXPLAINS = ("G103", "G104", "G105", "G301", "G303", "G308", "G402")
REQUIRES = ("training",)

# Least loss within reach as a share of a guess's. A cap at +-10 costs less than 1e-3; tanh on the
# logits of two classes costs 18 %, of ten classes 35 %.
FLOOR = 0.15


def check(case: Case) -> Iterator[Finding]:
    """One finding for each loss whose logits are bounded."""
    for call in case.snapshot.losses:
        floor = call.floor()
        if floor is None or call.reach is None or not case.poor:
            continue
        if call.upstream in ("softmax", "sigmoid"):
            continue  # G401 says it
        guess = math.log(2 if "binary" in call.name else max(2, call.input_shape[1]))
        if floor < FLOOR * guess:
            continue
        low, high = call.reach
        yield Finding(
            CODE,
            f"`{call.upstream}` keeps the logits between {low:g} and {high:g}: `{call.name}` "
            f"cannot fall below {floor:.3g}",
            "error",
            "loss-head",
            where=(call.name,),
            source=call.source,
            evidence=(Evidence("least loss within reach / a guess's", floor / guess, "", FLOOR),),
            advice=(f"leave out the last `{call.upstream}`: logits must be free to grow",),
            confidence=0.9,
        )


# Chinese for the texts above, by template.
ZH = {
    "`{op}` keeps the logits between {a} and {b}: `{name}` cannot fall below {x}": (
        "`{op}` 把 logits 限制在 {a} 与 {b} 之间：`{name}` 无法低于 {x}"
    ),
    "least loss within reach / a guess's": "可达到的最小损失与瞎猜的损失之比",
    "leave out the last `{op}`: logits must be free to grow": (
        "去掉最后的 `{op}`：logits 必须能自由增长"
    ),
}
