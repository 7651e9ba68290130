"""G604: the gradient underflows in float16.

What it checks:
    The share of each float16 gradient that lies below 1e-6. There fewer than four binary digits
    are left, and below 6e-8 the number is 0.

Why it matters:
    Layers behind an underflow get nothing, and no error says so.

When it is wrong:
    A ReLU makes half of its gradient exactly zero by itself; only ops where nearly all of it is
    lost count.

What to do:
    Scale the loss up before the backward pass (`torch.amp.GradScaler`), or use bfloat16.

References:
    Micikevicius et al. (2018), section 3.2.
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.rules.case import Case

CODE = "G604"
EXPLAINS = ("G101", "G105", "G108", "G303", "G308", "G402", "G606")
REQUIRES: tuple[str, ...] = ()

LOST = 0.9


def check(case: Case) -> Iterator[Finding]:
    """One finding for the op nearest to the loss where nearly all is lost."""
    hit = [
        op
        for op in case.snapshot.ops
        if op.underflow is not None and op.underflow > LOST and op.on_path
    ]
    if not hit:
        return
    first = hit[-1]
    assert first.underflow is not None
    yield Finding(
        CODE,
        f"underflow: {100 * first.underflow:.0f} % of the float16 gradient at "
        f"`{first.module or first.name}` has less than four digits left",
        "error",
        "precision",
        where=tuple(dict.fromkeys(op.module or op.name for op in reversed(hit)))[:5],
        source=first.source,
        evidence=(
            Evidence(
                "share of the gradient below 1e-6",
                first.underflow,
                "",
                LOST,
                "entries of the gradient that arrives, zeros included",
            ),
            Evidence("ops with such a gradient", len(hit), "", 0),
        ),
        advice=(
            "scale the loss up before `backward` (`torch.amp.GradScaler`)",
            "or use bfloat16, which has the range of float32",
        ),
        confidence=0.9,
    )


# Chinese for the texts above, by template.
ZH = {
    "underflow: {x} % of the float16 gradient at `{name}` has less than four digits left": (
        "下溢：`{name}` 处 float16 梯度的 {x} % 只剩不到四位二进制数字"
    ),
    "share of the gradient below 1e-6": "低于 1e-6 的梯度比例",
    "entries of the gradient that arrives, zeros included": "到达的梯度元素，含零",
    "ops with such a gradient": "有这种梯度的算子数",
    "scale the loss up before `backward` (`torch.amp.GradScaler`)": (
        "在 `backward` 之前放大损失（`torch.amp.GradScaler`）"
    ),
    "or use bfloat16, which has the range of float32": "或用 bfloat16，其范围与 float32 相同",
}
