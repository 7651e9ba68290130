"""G405: the loss is maximised.

What it checks:
    The gradient that arrives at the result of a loss function. It is the weight with which that
    loss enters what is returned: below 0 the step climbs it. In a loop of the user's own, also
    whether its backward pass starts at the negative of what the step returns.

Why it matters:
    The optimizer goes downhill on what it is given; with the sign turned the net unlearns.

When it is wrong:
    An adversary is meant to climb the loss of its opponent. Only a step in which no loss
    function has a positive weight is an alarm.

What to do:
    Leave out the minus.

References:
    Goodfellow et al. (2014) for losses that are climbed on purpose.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isograd.records import Evidence, Finding, LossCall
from isograd.rules.case import Case

CODE = "G405"
EXPLAINS = ("G301", "G303", "G307", "G308", "G402")
REQUIRES: tuple[str, ...] = ()

# Two batches of one net score alike within this share.
ALIKE = 0.5
# Losses that are never negative by themselves.
_POSITIVE = frozenset(
    "cross_entropy binary_cross_entropy binary_cross_entropy_with_logits mse_loss l1_loss "
    "smooth_l1_loss huber_loss multi_margin_loss".split()
)


def check(case: Case) -> Iterator[Finding]:
    """One finding if every loss function is climbed."""
    calls = [c for c in case.snapshot.losses if c.weight is not None]
    if not calls:
        yield from _unused(case)
    if not calls:
        yield from _likelihood(case)
    by_hand = any(c.weight is None and c.by_hand for c in case.snapshot.losses)
    if calls and any((c.weight or 0.0) > 0 for c in calls):
        yield from _turned(case)
    if not calls or by_hand or any((c.weight or 0.0) >= 0 for c in calls):
        return
    yield _maximised(calls[0])


def _turned(case: Case) -> Iterator[Finding]:
    """A loop whose backward pass starts at the negative of what the step returns."""
    training, loss = case.training, case.snapshot.loss
    if training is None or not training.loss or any(n != 1 for n in training.backwards):
        return
    first, last = training.loss[0], training.loss[-1]
    positive = [
        c
        for c in case.snapshot.losses
        if c.name in _POSITIVE
        and (out := case.snapshot.ops[c.op].output) is not None
        and math.isclose(out.mean, loss, rel_tol=0.01)
    ]
    alike = math.isclose(-first, loss, rel_tol=ALIKE)
    if not positive or not alike or loss <= 0 or not last < first:
        return
    yield Finding(
        CODE,
        f"wrong sign: the loop goes backward from {first:.3g} where the step returns {loss:.3g}",
        "error",
        "loss-head",
        evidence=(
            Evidence("loss of the loop's backward pass", first),
            Evidence("loss that the step returns", loss),
        ),
        advice=("call `loss.backward()` on the loss itself, without a minus",),
        confidence=0.85,
    )


def _maximised(call: LossCall) -> Finding:
    return Finding(
        CODE,
        f"wrong sign: `{call.name}` is maximised",
        "error",
        "loss-head",
        where=(call.name,),
        source=call.source,
        evidence=(
            Evidence("weight of the loss function", call.weight or 0.0, "", 0.0, "its gradient"),
        ),
        advice=("leave out the minus in front of the loss",),
        confidence=0.95,
    )


def _unused(case: Case) -> Iterator[Finding]:
    """A loss function of the model's output that is no part of what is minimised."""
    cut = [cut for cut in case.snapshot.cuts if cut.split(" ")[0] in ("item", "float", "detach")]
    idle = [c for c in case.snapshot.losses if not c.by_hand]
    if not case.failing or not cut or not idle:
        return
    yield Finding(
        CODE,
        f"`{idle[0].name}` is computed and takes no part in what is minimised: `{cut[0]}`",
        "error",
        "graph-cut",
        where=(idle[0].name,),
        source=idle[0].source,
        evidence=(Evidence("loss functions with a gradient", 0, "", 1.0),),
        advice=("return the loss tensor itself; keep `.item()` for what is printed",),
        confidence=0.85,
    )


def _likelihood(case: Case) -> Iterator[Finding]:
    """A log-likelihood by hand, each entry of which the step lowers, in a loss below 0."""
    ops = [op for op in case.snapshot.ops if op.rising is not None and op.on_path]
    if not ops or any((op.rising or 0.0) < 1 for op in ops):
        return
    training = case.training
    loss = training.loss if training is not None and training.loss else (case.snapshot.loss,)
    if case.snapshot.loss >= 0 or not loss[-1] <= loss[0]:
        return
    yield Finding(
        CODE,
        f"wrong sign: the log-likelihood from `{ops[0].name}` is minimised",
        "error",
        "loss-head",
        where=(ops[0].module or ops[0].name,),
        source=ops[0].source,
        evidence=(
            Evidence("share of likelihoods that the step lowers", 1.0, "", 1.0, "its gradient"),
            Evidence("loss", loss[-1]),
        ),
        advice=("put a minus in front of the log-likelihood",),
        confidence=0.9,
    )


# Chinese for the texts above, by template.
ZH = {
    "`{name}` is computed and takes no part in what is minimised: `{cut}`": (
        "计算了 `{name}`，但它不参与最小化：`{cut}`"
    ),
    "loss functions with a gradient": "有梯度的损失函数数",
    "return the loss tensor itself; keep `.item()` for what is printed": (
        "返回损失张量本身；`.item()` 只用于打印"
    ),
    "wrong sign: the log-likelihood from `{name}` is minimised": (
        "符号错误：`{name}` 的对数似然在被最小化"
    ),
    "share of likelihoods that the step lowers": "这一步降低的似然所占比例",
    "put a minus in front of the log-likelihood": "在对数似然前加上负号",
    "wrong sign: the loop goes backward from {a} where the step returns {b}": (
        "符号错误：循环从 {a} 反向传播，而 step 返回 {b}"
    ),
    "loss of the loop's backward pass": "循环中反向传播的损失",
    "loss that the step returns": "step 返回的损失",
    "call `loss.backward()` on the loss itself, without a minus": (
        "直接对损失本身调用 `loss.backward()`，不要加负号"
    ),
    "wrong sign: `{name}` is maximised": "符号错误：`{name}` 在被最大化",
    "weight of the loss function": "损失函数的权重",
    "its gradient": "其梯度",
    "leave out the minus in front of the loss": "去掉损失前面的负号",
}
