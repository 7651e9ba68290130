"""G111: normalisation on the trunk divides what residual branches add.

What it checks:
    On the chain of a residual net, the decades that normalisations lose between its first and
    its last one, where the short training fails or ends near the loss of a constant answer.

Why it matters:
    With the norm after the addition, each block divides the skip path by the standard deviation
    of skip plus branch. Depth multiplies that; the gradient of early blocks rests on the
    branches alone.

When it is wrong:
    Shallow post-norm nets train well with warm-up; where the net learns, this only explains.

What to do:
    Put the norm into the branch (pre-norm), scale the skip path (DeepNorm), or warm the rate up.

References:
    Xiong et al. (2020); Liu et al. (2020, Admin); Wang et al. (2022, DeepNorm).
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.records.training import end_of
from isograd.rules.case import Case

CODE = "G111"
EXPLAINS = ("G108", "G303", "G402")
REQUIRES = ("layers",)

# Sixteen norms that each divide by sqrt(2) cost 2.4 decades.
DECADES = 1.5
BLOCKS = 6
# A loss this little below that of the best constant answer: fifty steps of a sound net of that
# depth pass it.
BARELY = 0.2


def check(case: Case) -> Iterator[Finding]:
    """One finding if norms on the trunk of a failing net cost that much."""
    chain = case.chain
    if chain is None or not (case.failing or _barely(case)):
        return
    joins = [i for i, link in enumerate(chain.links) if link.kind == "residual"]
    if len(joins) < BLOCKS:
        return
    trunk = chain.links[joins[0] : joins[-1]]
    norms = [link for link in trunk if link.kind == "normalization"]
    lost = sum(link.decades for link in norms)
    if len(norms) < BLOCKS or lost > -DECADES:
        return
    yield Finding(
        CODE,
        f"{len(norms)} norms on the trunk divide the gradient by {-lost:.1f} decades (post-norm)",
        "error",
        "normalization",
        where=tuple(dict.fromkeys((norms[-1].module, norms[0].module))),
        source=norms[0].source,
        evidence=(
            Evidence("decades by norms on the trunk", lost, "decades", -DECADES, "sum"),
            Evidence("norms on the trunk", len(norms), "", BLOCKS),
        ),
        advice=(
            "move the normalisation into the branch (pre-norm)",
            "or warm the learning rate up over some hundred steps",
        ),
        confidence=0.75,
    )


def _barely(case: Case) -> bool:
    """True if the training comes down to about what the best constant answer scores."""
    constant = case.snapshot.constant_loss
    if case.training is None or constant is None or not case.poor:
        return False
    return end_of(case.training.loss) > (1 - BARELY) * constant


# Chinese for the texts above, by template.
ZH = {
    "{n} norms on the trunk divide the gradient by {x} decades (post-norm)": (
        "主干上的 {n} 个归一化使梯度缩小 {x} 个数量级（后置归一化）"
    ),
    "decades by norms on the trunk": "主干上归一化造成的数量级变化",
    "norms on the trunk": "主干上的归一化个数",
    "sum": "求和",
    "move the normalisation into the branch (pre-norm)": "把归一化移入分支（前置归一化）",
    "or warm the learning rate up over some hundred steps": "或用数百步预热学习率",
}
