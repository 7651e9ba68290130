"""G102: the gradient explodes on the way to the first layer.

What it checks:
    The same product as G101, far above 1, and what is left of it with one kind of factor made
    neutral.

Why it matters:
    The first layers take steps that are orders of magnitude too large while the last ones
    hardly move; one rate cannot suit both, and the next factor of ten overflows.

When it is wrong:
    Nets of small width vary by chance; the limit grows with the sum of 1/width. A gradient that
    explodes only where the first layer reads zeros (padding behind a norm) moves no weight.

What to do:
    Change the factor that gains most: scale the weights to the activation, scale residual
    branches by 1/sqrt(2 depth), normalise. Clipping hides the symptom for the whole net.

References:
    Pascanu et al. (2013); He et al. (2015); Zhang et al. (2019, Fixup).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.rules import neutral
from isograd.rules.case import CAUSE_WORDS, CAUSES, Case, Hidden, share

CODE = "G102"
EXPLAINS = ("G301", "G303")
REQUIRES = ("layers",)

# The mirror image of G101, with a wider limit: pre-norm residual nets grow gradients towards
# the first layer like the square root of their depth and train well.
DECADES = 2.0
SIGMAS = 3.0
# Gradients of N positions add up to a weight's as sqrt(N) at least, unless those that are large
# meet inputs that are zero (padding behind a norm).
UNREAD = 1e-3
# One decade past the limit the finding is an error, below a warning.
_SURE = 1.0


def check(case: Case) -> Iterator[Finding]:
    """One finding if the product along the chain is far above 1."""
    hidden = case.hidden
    if hidden is None:
        return
    limit = max(DECADES, SIGMAS * hidden.noise)
    if hidden.decades - _behind_norm(case, hidden) < limit:
        return
    kinds = hidden.by_kind()
    blamed = next((k for k in reversed(kinds) if k in CAUSES), "weight")
    kind, second = neutral.decided(case, blamed)
    kinds = {kind: 0.0} | kinds
    if case.training is not None and not case.poor:
        return  # it halves its loss in a few steps all the same
    if _unread(case, hidden):
        return  # no weight learns from it
    cause = CAUSES[kind]
    own = [link for link in hidden.links if link.kind == kind]
    worst = max(own or hidden.links, key=lambda link: link.decades)
    yield Finding(
        CODE,
        f"gradient explodes: {hidden.decades:.1f} decades gained between "
        f"`{hidden.last.module}` and `{hidden.first.module}`, "
        f"{neutral.words(kind, second, 'most of it by')}",
        "error" if hidden.decades > limit + _SURE else "warning",
        cause,
        where=(hidden.first.module, worst.module),
        source=worst.source,
        evidence=(
            Evidence(
                "decades between last and first layer",
                hidden.decades,
                "decades",
                limit,
                "norm of the gradient at the first layer / at the last, log10",
            ),
            Evidence(
                f"decades by {CAUSE_WORDS[cause]}",
                kinds[kind],
                "decades",
                None,
                "sum over the chain",
            ),
            Evidence(
                "share of the decades gained",
                share(kinds, kind),
                "",
                None,
                "of all kinds that gain",
            ),
            Evidence("width noise", hidden.noise, "decades", None, "sqrt(5 sum 1/width)"),
        ),
        advice=(
            "initialise the weights for this activation: variance 2/fan_in for ReLU, 1/fan_in "
            "for tanh",
            "scale residual branches by 1/sqrt(2 depth), or normalise",
            "clip the gradient norm only after the factor is right",
        ),
        confidence=min(0.99, 0.5 + 0.5 * (hidden.decades - limit) / limit),
    )


def _behind_norm(case: Case, hidden: Hidden) -> float:
    """Decades that the norm right behind the first layer gains.

    At the end of a residual branch a norm divides by what the branch puts out. It multiplies the
    gradient by the inverse, which is no matter of depth: a layer of half the scale gets twice the
    gradient (as the weights of any layer that a norm follows).
    """
    links = list(hidden.links)
    gained = 0.0
    while links and links[-1].kind in ("normalization", "reshape", "other", "dropout"):
        link = links.pop()
        if link.kind == "normalization":
            gained += max(0.0, link.decades)
    joins = bool(links) and links[-1].kind == "residual"
    return gained if joins else 0.0


def _unread(case: Case, hidden: Hidden) -> bool:
    """True if what explodes meets inputs of zero at the first layer.

    A norm of a zero vector multiplies a gradient by 1/sqrt(eps). That of a weight behind it is the
    sum over positions of gradient times input, and these positions add nothing.
    """
    op = case.snapshot.ops[hidden.first.op_index]
    weight = case.snapshot.parameters.get(f"{hidden.first.module}.weight")
    if op.inputs is None or weight is None or not op.grad_norm < math.inf:
        return False
    entries = math.prod(op.inputs.shape)
    positions = entries / max(1, op.inputs.shape[-1])
    most = op.grad_norm * op.inputs.rms * math.sqrt(entries)
    return 0 < weight.grad_norm * math.sqrt(positions) < UNREAD * most


# Chinese for the texts above, by template.
ZH = {
    "gradient explodes: {n} decades gained between `{a}` and `{b}`, most of it by {cause}": (
        "梯度爆炸：从 `{a}` 到 `{b}` 放大 {n} 个数量级，主要原因是{cause}"
    ),
    "gradient explodes: {n} decades gained between `{a}` and `{b}`, by both {cause} and {other}": (
        "梯度爆炸：从 `{a}` 到 `{b}` 放大 {n} 个数量级，由{cause}和{other}共同造成"
    ),
    "share of the decades gained": "占放大数量级的比例",
    "of all kinds that gain": "相对所有造成放大的类型",
    "initialise the weights for this activation: variance 2/fan_in for ReLU, 1/fan_in "
    "for tanh": "按激活函数初始化权重：ReLU 方差取 2/fan_in，tanh 取 1/fan_in",
    "scale residual branches by 1/sqrt(2 depth), or normalise": (
        "把残差分支乘以 1/sqrt(2L)（L 为深度），或加归一化"
    ),
    "clip the gradient norm only after the factor is right": "先修正该因子，再考虑梯度裁剪",
}
