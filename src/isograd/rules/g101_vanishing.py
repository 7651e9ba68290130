"""G101: the gradient vanishes on the way to the first layer.

What it checks:
    The gradient arriving at the first layer against the one arriving at the last hidden layer,
    along the chain of ops that every path crosses. The loss and the output layer are left out:
    they scale all layers alike. The same batch is then sent back again with one kind of factor made
    neutral (`docs/method.md`): the cause is the factor without which the symptom goes, and a second
    one is named if a third of it goes without that.

Why it matters:
    Layers learn at the speed of the gradient they get. At two decades the first layer learns a
    hundred times slower than the last.

When it is wrong:
    An optimizer that rescales each parameter (Adam) hides moderate differences in norm. Then
    the gradient is still small against its own rounding error and noise. A head that starts
    small on purpose: if the loss falls and the trained net is within the limit, nothing is said.

What to do:
    Change the factor that costs most. Activation derivative: an activation whose derivative is
    1 for half of its inputs (ReLU with He initialisation); normalisation in front of it helps
    tanh but not sigmoid.
    Weights: initialise at the scale this activation needs.

References:
    Hochreiter (1991); Glorot and Bengio (2010); He et al. (2015); Hanin and Nica (2018) for the
    width of the band in which a random net of finite width lies.
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding, Link
from isograd.rules import neutral
from isograd.rules.case import CAUSE_WORDS, CAUSES, Case, Hidden, share

CODE = "G101"
EXPLAINS = ("G303", "G402")
REQUIRES = ("layers",)

# A factor of 56 between two hidden layers of one net. Four hidden layers of PyTorch's default
# initialisation with ReLU, which train without trouble, lose 1.2; the classic four sigmoid layers
# lose 1.83 to 2.48 over 100 seeds (benchmarks/demo_seeds.py).
DECADES = 1.75
# Random nets of finite width stay within three standard deviations of their mean.
SIGMAS = 3.0
# Factors that follow the scale of the forward signal.
SCALED = ("normalization", "residual")
# Activations whose slope over n units is 1/n by design.
MIXTURES = frozenset(("softmax", "gumbel_softmax", "log_softmax"))
# One decade past the limit the finding is an error, below a warning.
_SURE = 1.0


def check(case: Case) -> Iterator[Finding]:
    """One finding if the product along the chain is far below 1."""
    hidden = case.hidden
    if hidden is None:
        return
    limit = max(DECADES, SIGMAS * hidden.noise)
    if hidden.decades > -limit:
        return
    kinds = hidden.blame()
    blamed = next((k for k in kinds if k in CAUSES), "weight")
    kind, second = neutral.decided(case, blamed)
    if kind in SCALED and case.training is not None and not case.poor:
        return  # a norm divides by the scale of its input, and the net learns
    adaptive = case.training is not None and (
        case.training.optimizer is not None and case.training.optimizer.adaptive
    )
    if adaptive and not case.poor:
        return  # each parameter's step is rescaled, and the loss is halved
    worst = _worst(hidden, kind)
    if kind == "activation" and worst.op.strip("_") in MIXTURES and _learns(case):
        return  # a mixture is meant to be a softmax, as G107 explains
    if _recovers(case, limit):
        return  # a small start that the training itself undid
    looped = any(case.snapshot.ops[link.op_index].loops for link in hidden.links)
    if looped and case.training is not None and not case.failing:
        return  # depth in time, which G201 judges
    yield _finding(hidden, limit, kind, second)


def _worst(hidden: Hidden, kind: str) -> Link:
    """The link of a kind that loses the most; of all links if the chain has none of it."""
    own = [link for link in hidden.links if link.kind == kind]
    return min(own or hidden.links, key=lambda link: link.decades)


def _recovers(case: Case, limit: float) -> bool:
    """True if the net learns and the trained one passes the gradient within the limit."""
    if case.training is None or case.training.end is None or not _learns(case):
        return False
    hidden = Case(case.training.end).hidden
    return hidden is not None and hidden.decades > -limit


def _learns(case: Case) -> bool:
    return case.training is not None and not case.failing


def _finding(hidden: Hidden, limit: float, kind: str, second: str | None) -> Finding:
    kinds = {kind: 0.0} | hidden.by_kind()
    cause = CAUSES[kind]
    worst = _worst(hidden, kind)
    lost = -hidden.decades
    per_layer = lost / (hidden.layers - 1)
    return Finding(
        CODE,
        f"gradient vanishes: {lost:.1f} decades lost between `{hidden.last.module}` and "
        f"`{hidden.first.module}`, {neutral.words(kind, second, 'most of it by')}",
        "error" if lost > limit + _SURE else "warning",
        cause,
        where=(hidden.first.module, worst.module),
        source=worst.source,
        evidence=(
            Evidence(
                "decades between last and first layer",
                hidden.decades,
                "decades",
                -limit,
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
                "share of the decades lost", share(kinds, kind), "", None, "of all kinds that lose"
            ),
            Evidence("decades per layer", -per_layer, "decades"),
            Evidence(
                "typical factor of this kind",
                10 ** (kinds[kind] / max(1, sum(li.kind == kind for li in hidden.links))),
                "",
                None,
                "geometric mean of the gains on the chain",
            ),
            Evidence("width noise", hidden.noise, "decades", None, "sqrt(5 sum 1/width)"),
        ),
        advice=_advice(kind, worst.op) + (_advice(second, worst.op)[:1] if second else ()),
        confidence=min(0.99, 0.5 + 0.5 * (lost - limit) / limit) if lost < 2 * limit else 0.99,
    )


def _advice(kind: str, op: str) -> tuple[str, ...]:
    advice = _ADVICE[kind]
    if kind == "activation" and op.strip("_") != "sigmoid":
        # Behind a norm the gain is E[f'^2] / E[f^2] at unit variance: 1.18 for tanh, 0.15 for
        # sigmoid, whose mean of 1/2 is normalised away and whose slope is not.
        advice = (*advice, "or put LayerNorm or BatchNorm in front of the activation")
    return advice


_ADVICE: dict[str, tuple[str, ...]] = {
    "activation": (
        "replace the activation by ReLU or GELU and initialise with He "
        '(`nn.init.kaiming_normal_(w, nonlinearity="relu")`)',
        "or scale the weights so that the gain is 1 for this activation",
    ),
    "weight": (
        "initialise the weights for this activation "
        '(`nn.init.kaiming_normal_(w, nonlinearity="relu")`, xavier for tanh)',
        "or add residual connections or normalisation",
    ),
    "normalization": (
        "move the normalisation into the branch (pre-norm)",
        "check the scale of what is normalised: its gain is 1 / standard deviation",
    ),
    "attention": (
        "scale the logits by 1/sqrt(d) or normalise q and k",
        "check the mask: a row that sees one key passes no gradient to q and k",
    ),
    "residual": ("check the scale of the branches against the skip path",),
    "recurrence": (
        "start LSTM forget-gate biases at 1 or more, or shorten the sequence",
        "use an orthogonal recurrent weight",
    ),
    "loss": ("check the loss head: its own derivative is close to zero",),
}


# Chinese for the texts above, by template.
ZH = {
    "gradient vanishes: {n} decades lost between `{a}` and `{b}`, most of it by {cause}": (
        "梯度消失：从 `{a}` 到 `{b}` 损失 {n} 个数量级，主要原因是{cause}"
    ),
    "gradient vanishes: {n} decades lost between `{a}` and `{b}`, by both {cause} and {other}": (
        "梯度消失：从 `{a}` 到 `{b}` 损失 {n} 个数量级，由{cause}和{other}共同造成"
    ),
    "decades between last and first layer": "末层到首层的数量级变化",
    "decades by {cause}": "其中由{cause}造成的数量级变化",
    "decades per layer": "每层的数量级变化",
    "typical factor of this kind": "该类因子的典型值",
    "width noise": "有限宽度造成的波动",
    "norm of the gradient at the first layer / at the last, log10": (
        "首层与末层梯度范数之比，取以 10 为底的对数"
    ),
    "sum over the chain": "沿链求和",
    "share of the decades lost": "占损失数量级的比例",
    "of all kinds that lose": "相对所有造成损失的类型",
    "geometric mean of the gains on the chain": "链上增益的几何平均",
    "replace the activation by ReLU or GELU and initialise with He "
    '(`nn.init.kaiming_normal_(w, nonlinearity="relu")`)': (
        '换用 ReLU 或 GELU，并用 He 初始化（`nn.init.kaiming_normal_(w, nonlinearity="relu")`）'
    ),
    "or put LayerNorm or BatchNorm in front of the activation": (
        "或在激活函数之前加 LayerNorm 或 BatchNorm"
    ),
    "or scale the weights so that the gain is 1 for this activation": (
        "或缩放权重，使该激活函数下的增益为 1"
    ),
    "initialise the weights for this activation "
    '(`nn.init.kaiming_normal_(w, nonlinearity="relu")`, xavier for tanh)': (
        '按激活函数初始化权重（ReLU 用 `nn.init.kaiming_normal_(w, nonlinearity="relu")`，'
        "tanh 用 xavier）"
    ),
    "or add residual connections or normalisation": "或加入残差连接或归一化",
}
