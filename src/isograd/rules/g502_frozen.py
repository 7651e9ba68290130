"""G502: frozen parameters keep the net from learning, shown by replay.

What it checks:
    Where a short training fails and parameters are frozen, the same training with them thawed.
    If that one learns, the freeze is the cause.

Why it matters:
    A backbone that was frozen before it was loaded stays random.

When it is wrong:
    A frozen part that is meant to rest while the rest learns: then the training does not fail.

What to do:
    `requires_grad_(True)` on the parameters named, or load the weights that were meant to rest.

References:
    The autograd notes of PyTorch on `requires_grad`.
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.rules import proof
from isograd.rules.case import Case, span

CODE = "G502"
EXPLAINS = ("G303", "G402")
REQUIRES = ("training",)


def check(case: Case) -> Iterator[Finding]:
    """One finding if the training learns with everything thawed."""
    replay = proof.proved(case, "frozen") or proof.released(case, "frozen")
    frozen = [n for n, p in case.snapshot.parameters.items() if not p.requires_grad]
    if replay is None or not frozen or not case.failing:
        return
    yield Finding(
        CODE,
        f"frozen by mistake? with {span(frozen)} thawed the loss ends at {replay.end():.3g}",
        "error",
        "frozen",
        where=tuple(frozen),
        evidence=(
            *proof.evidence(case, replay),
            Evidence("frozen parameters", len(frozen), f"of {len(case.snapshot.parameters)}"),
        ),
        advice=(
            "`requires_grad_(True)` on them, and hand them to the optimizer",
            "or load the trained weights that were meant to rest",
        ),
        confidence=0.85,
    )


# Chinese for the texts above, by template.
ZH = {
    **proof.ZH,
    "frozen by mistake? with {names} thawed the loss ends at {a}": (
        "误冻结？解冻 {names} 之后损失降到 {a}"
    ),
    "frozen parameters": "被冻结的参数",
    "`requires_grad_(True)` on them, and hand them to the optimizer": (
        "对它们调用 `requires_grad_(True)`，并交给优化器"
    ),
    "or load the trained weights that were meant to rest": "或加载本应保持不动的已训练权重",
}
