"""G104: an activation works in its flat part.

What it checks:
    For sigmoid, tanh and their hard variants inside the net: the share of entries whose
    derivative is below 5 % of its maximum. The output activation is left out: a trained
    classifier is meant to saturate there.

Why it matters:
    A saturated entry passes less than a twentieth of the gradient.

When it is wrong:
    Gates that have learnt to stay open or shut.

What to do:
    Shrink the pre-activations: scale inputs to unit variance, initialise weights with variance
    1/fan_in, put normalisation in front.

References:
    Glorot and Bengio (2010); LeCun et al. (1998).
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.rules.case import Case, span

CODE = "G104"
EXPLAINS = ("G101",)
REQUIRES: tuple[str, ...] = ()

# Half of the entries passing less than a twentieth: the layer's gain is below 0.75 of its
# healthy value whatever the rest does.
SATURATED = 0.5


def check(case: Case) -> Iterator[Finding]:
    """One finding for all saturated layers."""
    hit = [
        op
        for op in case.hidden_activations()
        if op.units is not None
        and op.units.saturated_fraction is not None
        and op.units.saturated_fraction >= SATURATED
    ]
    if not hit:
        return
    shares = {op.module or op.name: op.units.saturated_fraction or 0.0 for op in hit if op.units}
    worst = max(hit, key=lambda op: (op.units.saturated_fraction or 0.0) if op.units else 0.0)
    rms = worst.inputs.rms if worst.inputs else float("nan")
    yield Finding(
        CODE,
        f"saturated: {100 * max(shares.values()):.0f} % of `{worst.module or worst.name}` "
        f"({worst.name}) lies in the flat part ({span(list(shares))})",
        "error",
        "activation-derivative",
        where=tuple(shares),
        source=worst.source,
        evidence=(
            *(
                Evidence(
                    f"saturated share of {name}",
                    share,
                    "",
                    SATURATED,
                    "entries whose derivative is below 5 % of its maximum",
                )
                for name, share in shares.items()
            ),
            Evidence("RMS of its input", rms, "", None, "pre-activation; about 1 is healthy"),
        ),
        advice=(
            "scale the inputs to zero mean and unit variance",
            "initialise the weights with variance 1/fan_in (`nn.init.xavier_normal_`)",
            "put LayerNorm or BatchNorm in front of the activation",
        ),
        confidence=min(0.99, 0.6 + 0.4 * max(shares.values())),
    )


# Chinese for the texts above, by template.
ZH = {
    "saturated: {share} % of `{a}` ({op}) lies in the flat part ({where})": (
        "饱和：`{a}`（{op}）中 {share} % 的取值落在平坦区（{where}）"
    ),
    "saturated share of {name}": "{name} 的饱和比例",
    "entries whose derivative is below 5 % of its maximum": "导数低于最大值 5 % 的元素",
    "RMS of its input": "其输入的均方根",
    "pre-activation; about 1 is healthy": "激活前的值；约为 1 属正常",
    "pre-activation": "激活前的值",
    "scale the inputs to zero mean and unit variance": "把输入标准化为零均值、单位方差",
    "initialise the weights with variance 1/fan_in (`nn.init.xavier_normal_`)": (
        "权重方差取 1/fan_in 初始化（`nn.init.xavier_normal_`）"
    ),
    "put LayerNorm or BatchNorm in front of the activation": (
        "在激活函数之前加 LayerNorm 或 BatchNorm"
    ),
}
