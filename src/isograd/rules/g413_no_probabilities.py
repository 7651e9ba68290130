"""G413: a loss that is made for probabilities gets none, or gets them on the wrong scale.

What it checks:
    `kl_div` that is called with probabilities in place of their logarithm, `nll_loss` whose
    log-probabilities do not add up over the classes, and `binary_cross_entropy` with numbers
    outside of 0 to 1.

Why it matters:
    A softmax over another dimension than the classes ties an answer to its neighbours and not to
    its rivals; a difference of probabilities is no divergence. The last one raises.

When it is wrong:
    A log-probability that is guarded by an eps adds up to a little more than 1, and is left alone.

What to do:
    `log_softmax` over the class dimension, or `cross_entropy` on the logits.

References:
    The documentation of torch.nn.NLLLoss, KLDivLoss and BCELoss.
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding, LossCall
from isograd.rules.case import Case

CODE = "G413"
EXPLAINS = ("G301", "G303", "G308", "G402", "G408")
REQUIRES: tuple[str, ...] = ()

# Probabilities that were guarded by an eps add up to a little more than 1.
MASS = 1.1


def check(case: Case) -> Iterator[Finding]:
    """One finding for each call without probabilities."""
    for call in case.snapshot.losses:
        if call.name == "kl_div" and call.sums_to_one:
            yield _finding(
                call,
                "`kl_div` gets probabilities, not their logarithm",
                Evidence("smallest input", call.prediction.low, "", 0.0, "of the loss function"),
                "hand `log_softmax` of the logits to `kl_div`",
            )
        logs = call.upstream in ("log_softmax", "log") and call.prediction.high <= 0
        if logs and call.mass is not None and not 1 / MASS < call.mass < MASS:
            yield _finding(
                call,
                f"`{call.name}` gets log-probabilities that do not add up over the classes: "
                f"their exponentials sum to {call.mass:.3g}",
                Evidence("sum of exp over the classes", call.mass, "", 1.0, "mean over samples"),
                "take `log_softmax` over the class dimension (`dim=-1` before any reshape)",
            )
        if call.name == "binary_cross_entropy" and call.refused:
            yield _finding(
                call,
                "`binary_cross_entropy` gets numbers outside of 0 to 1, which no probability is",
                Evidence("largest input", call.prediction.high, "", 1.0, "of the loss function"),
                "use `binary_cross_entropy_with_logits`, or apply a sigmoid first",
            )


def _finding(call: LossCall, title: str, evidence: Evidence, advice: str) -> Finding:
    return Finding(
        CODE,
        title,
        "error",
        "loss-head",
        where=(call.name,),
        source=call.source,
        evidence=(evidence,),
        advice=(advice,),
        confidence=0.95,
    )


# Chinese for the texts above, by template.
ZH = {
    "`kl_div` gets probabilities, not their logarithm": "`kl_div` 收到的是概率，而不是概率的对数",
    "smallest input": "最小输入",
    "largest input": "最大输入",
    "of the loss function": "损失函数的输入",
    "hand `log_softmax` of the logits to `kl_div`": "把 logits 的 `log_softmax` 交给 `kl_div`",
    "`{name}` gets log-probabilities that do not add up over the classes: their exponentials sum "
    "to {x}": "`{name}` 收到的对数概率在类别上加起来不为一：其指数之和为 {x}",
    "sum of exp over the classes": "类别上的指数之和",
    "mean over samples": "各样本的平均",
    "take `log_softmax` over the class dimension (`dim=-1` before any reshape)": (
        "沿类别维取 `log_softmax`（变形之前用 `dim=-1`）"
    ),
    "`binary_cross_entropy` gets numbers outside of 0 to 1, which no probability is": (
        "`binary_cross_entropy` 收到 0 到 1 之外的数，而概率不会如此"
    ),
    "use `binary_cross_entropy_with_logits`, or apply a sigmoid first": (
        "改用 `binary_cross_entropy_with_logits`，或先用 sigmoid"
    ),
}
