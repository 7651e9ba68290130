"""G309: weight decay takes more from the weights than the data give.

What it checks:
    Where a short training fails and the optimizer decays weights, the same training without
    decay. If that one learns, decay is the cause.

Why it matters:
    Decay multiplies each weight by `1 - rate * decay` a step, whatever the loss says.

When it is wrong:
    A training that only starts later than the steps that were run.

What to do:
    Lower the decay; 0.01 to 0.1 is usual with AdamW, 1e-4 to 5e-4 with SGD.

References:
    Krogh and Hertz (1992); Loshchilov and Hutter (2019).
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.rules import proof
from isograd.rules.case import Case

CODE = "G309"
EXPLAINS = ("G101", "G301", "G303", "G307", "G308", "G402", "G601")
REQUIRES = ("training",)

# Rate x decay x steps: the share that decay alone takes off a weight in the training.
SHRUNK = 0.05


def check(case: Case) -> Iterator[Finding]:
    """One finding if the training learns without decay."""
    negative = training_decay(case)
    if negative < 0:
        yield _negative(negative)
        return
    replay = proof.proved(case, "weight decay") or proof.released(case, "weight decay")
    training = case.training
    if replay is None or training is None or training.optimizer is None:
        return
    decay = training.optimizer.weight_decay
    if max(training.learning_rate, default=0.0) * decay * len(training.loss) < SHRUNK:
        return  # too little to shrink a weight
    yield Finding(
        CODE,
        f"weight decay of {decay:g} shrinks the weights away: without it the loss ends at "
        f"{replay.end():.3g}",
        "error",
        "weight-decay",
        evidence=(
            *proof.evidence(case, replay),
            Evidence("weight decay", decay),
            Evidence("learning rate", max(training.learning_rate, default=0.0)),
        ),
        advice=("lower `weight_decay`; try 0.01 (AdamW) or 1e-4 (SGD)",),
        confidence=0.9,
        step=len(training.loss) - 1,
    )


def training_decay(case: Case) -> float:
    """Weight decay of the optimizer, 0 without one."""
    facts = case.training.optimizer if case.training else None
    return facts.weight_decay if facts else 0.0


def _negative(decay: float) -> Finding:
    return Finding(
        CODE,
        f"weight decay of {decay:g} is negative: weights grow at each step whatever the loss says",
        "error",
        "weight-decay",
        evidence=(Evidence("weight decay", decay, "", 0.0),),
        advice=("use a positive `weight_decay`, or 0",),
        confidence=0.95,
    )


# Chinese for the texts above, by template.
ZH = {
    **proof.ZH,
    "weight decay of {d} is negative: weights grow at each step whatever the loss says": (
        "权重衰减 {d} 为负：无论损失如何，权重每步都在增长"
    ),
    "use a positive `weight_decay`, or 0": "使用正的 `weight_decay`，或设为 0",
    "weight decay of {d} shrinks the weights away: without it the loss ends at {a}": (
        "权重衰减 {d} 把权重压没了：去掉它之后损失降到 {a}"
    ),
    "weight decay": "权重衰减",
    "learning rate": "学习率",
    "lower `weight_decay`; try 0.01 (AdamW) or 1e-4 (SGD)": (
        "调低 `weight_decay`：AdamW 可试 0.01，SGD 可试 1e-4"
    ),
}
