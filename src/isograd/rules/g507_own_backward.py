"""G507: a hand-written backward pass is wrong, shown by replay.

What it checks:
    Where a short training fails and the loss depends on an `autograd.Function` of your own, the
    same training with its forward pass differentiated by autograd. If that one learns, the
    backward that was written by hand is the cause.

Why it matters:
    No error says that a derivative is missing, has the wrong sign or the wrong factor.

When it is wrong:
    A gradient that is wrong on purpose (a straight-through estimate, a surrogate slope of spikes, a
    reversal between a net and its adversary) serves a net that learns; of a step function autograd
    has nothing better to offer. Then nothing is said.

What to do:
    `torch.autograd.gradcheck` on the function, in float64.

References:
    The notes of PyTorch on extending autograd.
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.rules import proof
from isograd.rules.case import Case

CODE = "G507"
EXPLAINS = ("G101", "G102", "G301", "G303", "G402", "G405", "G503")
REQUIRES = ("training",)


def check(case: Case) -> Iterator[Finding]:
    """One finding if the training learns with autograd's derivative."""
    replay = proof.proved(case, "backward")
    own = [op for op in case.snapshot.ops if op.custom]
    if replay is None or not own or not case.failing or case.game:
        return
    if len(case.snapshot.losses) > 1:
        return  # a reversal between two players lowers the sum of their losses where it is missing
    names = dict.fromkeys(op.name for op in own)
    yield Finding(
        CODE,
        f"the backward of {', '.join(f'`{name}`' for name in names)} is not its derivative: with "
        f"autograd's the loss ends at {replay.end():.3g}",
        "error",
        "non-differentiable",
        where=tuple(dict.fromkeys(op.module for op in own if op.module)),
        source=own[0].source,
        evidence=(
            *proof.evidence(case, replay),
            Evidence("calls of own functions", len(own)),
        ),
        advice=("run `torch.autograd.gradcheck` on it in float64",),
        confidence=0.9,
    )


# Chinese for the texts above, by template.
ZH = {
    **proof.ZH,
    "the backward of {names} is not its derivative: with autograd's the loss ends at {a}": (
        "{names} 的 backward 不是它的导数：改用 autograd 的导数后损失降到 {a}"
    ),
    "calls of own functions": "自定义函数的调用数",
    "run `torch.autograd.gradcheck` on it in float64": (
        "用 `torch.autograd.gradcheck` 在 float64 下检查它"
    ),
}
