"""G401: the loss function gets something it is not made for.

What it checks:
    What each loss function was called with: probabilities where logits belong (a softmax in
    front of cross-entropy), one class, shapes that broadcast a
    difference or a product to a matrix, targets that are all ignored.

Why it matters:
    Softmax twice bounds the gradient and the loss can never approach 0. A softmax over one unit
    is constant. A difference of shapes (N, 1) and (N,) compares every sample with every label.

When it is wrong:
    A distribution as prediction is right for `nll_loss` after log and for `kl_div`; they are not
    looked at.

What to do:
    Hand logits to `cross_entropy`; match the shapes of prediction and target.

References:
    Bridle (1990); the documentation of torch.nn.CrossEntropyLoss.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from isograd.records import Evidence, Finding, LossCall
from isograd.records.finding import Cause
from isograd.rules.case import Case

CODE = "G401"
EXPLAINS = ("G105", "G301", "G303", "G308", "G402", "G404")
REQUIRES: tuple[str, ...] = ()


def check(case: Case) -> Iterator[Finding]:
    """One finding for each call that does not fit."""
    losses = case.snapshot.losses
    for call in losses:
        yield from _one_class(call)
        yield from _twice(call)
        yield from _ignored(call)
        yield from _no_log(call)
    yield from islice((f for call in losses for f in _broadcast(call)), 1)
    yield from _one_unit(case)
    yield from _over_batch(case)


def _twice(call: LossCall) -> Iterator[Finding]:
    squashed = call.upstream in ("softmax", "sigmoid") and call.name == "cross_entropy"
    many = len(call.input_shape) > 1 and call.input_shape[1] > 1
    if squashed and many and (call.sums_to_one or call.upstream == "sigmoid"):
        yield _finding(
            call,
            f"`cross_entropy` gets the output of `{call.upstream}`, not logits",
            "loss-head",
            Evidence("largest input", call.prediction.high, "", 1.0, "of the loss function"),
            f"leave out the {call.upstream}: `cross_entropy` applies log-softmax itself",
        )
    binary = call.name == "binary_cross_entropy_with_logits"
    if binary and call.upstream in ("sigmoid", "softmax"):
        yield _finding(
            call,
            f"`binary_cross_entropy_with_logits` gets the output of `{call.upstream}`, not logits",
            "loss-head",
            Evidence("largest input", call.prediction.high, "", 1.0, "of the loss function"),
            f"leave out the {call.upstream}: the loss applies a sigmoid itself",
        )


def _one_class(call: LossCall) -> Iterator[Finding]:
    alone = len(call.input_shape) > 1 and call.input_shape[1] == 1
    if call.name == "cross_entropy" and alone and len(call.input_shape) == 2:
        yield _finding(
            call,
            "`cross_entropy` over a single class is always 0",
            "loss-head",
            Evidence("classes", 1, "", 2.0, "size of dimension 1 of the prediction"),
            "use `binary_cross_entropy_with_logits`, or one unit for each class",
        )


def _one_unit(case: Case) -> Iterator[Finding]:
    for op in case.snapshot.ops:
        alone = op.dim is not None and op.output is not None and op.output.shape[op.dim] == 1
        if alone and op.on_path and op.kind != "attention":
            yield Finding(
                CODE,
                f"`{op.name}` over a single unit is always {0 if op.name[0] == 'l' else 1}",
                "error",
                "loss-head",
                where=(op.module or op.name,),
                source=op.source,
                evidence=(Evidence("units", 1, "", 2.0, "size of the dimension it runs over"),),
                advice=("use `sigmoid` for one unit, best inside the loss", _LOGITS),
                confidence=0.95,
            )
            return


def _over_batch(case: Case) -> Iterator[Finding]:
    """A softmax of the output that runs over the samples."""
    samples = case.snapshot.samples
    for op in case.snapshot.ops:
        shape = op.output.shape if op.output else ()
        if op.dim == 0 and len(shape) == 2 and op.index in case.before_loss and op.on_path:
            if samples is None or shape[0] != samples or shape[1] < 2:
                continue
            yield Finding(
                CODE,
                f"`{op.name}` runs over the {samples} samples of the batch, not over the classes",
                "error",
                "loss-head",
                where=(op.module or op.name,),
                source=op.source,
                evidence=(Evidence("dimension", 0, "", 1.0, f"of {shape}"),),
                advice=("pass `dim=1` (or `dim=-1`)",),
                confidence=0.95,
            )
            return


_LOGITS = "or hand one logit to `binary_cross_entropy_with_logits`"


def _broadcast(call: LossCall) -> Iterator[Finding]:
    a, b = call.input_shape, call.target_shape
    longer, shorter = (a, b) if len(a) > len(b) else (b, a)
    # (N, 1) against (N,): the shorter shape lies along the dimension of size 1.
    if call.broadcast:
        yield _finding(
            call,
            f"shapes {a} and {b} of `{call.name}` broadcast to {shorter[-1]} x {shorter[-1]}: "
            "every sample is compared with every target",
            "loss-shape",
            Evidence("entries compared", longer[0] * shorter[-1], "", float(longer[0])),
            "make the shapes equal: `target.unsqueeze(1)` or `output.squeeze(1)`",
        )


def _no_log(call: LossCall) -> Iterator[Finding]:
    if call.name == "nll_loss" and call.prediction.high > 0:
        yield _finding(
            call,
            "`nll_loss` gets numbers above 0, which no log-probability is",
            "loss-head",
            Evidence("largest input", call.prediction.high, "", 0.0, "of the loss function"),
            "apply `log_softmax` first, or use `cross_entropy` on the logits",
        )


def _ignored(call: LossCall) -> Iterator[Finding]:
    if call.ignored_fraction == 1:
        yield _finding(
            call,
            f"all targets of `{call.name}` are ignored (ignore_index, or a class weight of 0)",
            "labels",
            Evidence("ignored share of the targets", 1.0, "", 1.0),
            "check how labels are masked: not one of them takes part in the loss",
        )


def _finding(call: LossCall, title: str, cause: Cause, evidence: Evidence, advice: str) -> Finding:
    return Finding(
        CODE,
        title,
        "error",
        cause,
        where=(call.name,),
        source=call.source,
        evidence=(evidence,),
        advice=(advice,),
        confidence=0.95,
    )


# Chinese for the texts above, by template.
ZH = {
    "`{op}` over a single unit is always {x}": "对单个单元做 `{op}` 恒为 {x}",
    "units": "单元数",
    "size of the dimension it runs over": "其所作用维度的大小",
    "use `sigmoid` for one unit, best inside the loss": "单个单元用 `sigmoid`，最好放在损失函数里",
    "or hand one logit to `binary_cross_entropy_with_logits`": (
        "或把一个 logit 交给 `binary_cross_entropy_with_logits`"
    ),
    "`{op}` runs over the {n} samples of the batch, not over the classes": (
        "`{op}` 作用在批次的 {n} 个样本上，而不是类别上"
    ),
    "dimension": "维度",
    "of {shape}": "形状 {shape}",
    "pass `dim=1` (or `dim=-1`)": "传入 `dim=1`（或 `dim=-1`）",
    "`cross_entropy` gets the output of `{op}`, not logits": (
        "`cross_entropy` 收到的是 `{op}` 的输出，而不是 logits"
    ),
    "`binary_cross_entropy_with_logits` gets the output of `{op}`, not logits": (
        "`binary_cross_entropy_with_logits` 收到的是 `{op}` 的输出，而不是 logits"
    ),
    "`cross_entropy` over a single class is always 0": "只有一个类别的 `cross_entropy` 恒为 0",
    "shapes {a} and {b} of `{op}` broadcast to {n}: every sample is compared with every target": (
        "`{op}` 的形状 {a} 与 {b} 广播成 {n}：每个样本都与每个目标比较"
    ),
    "all targets of `{op}` are ignored (ignore_index, or a class weight of 0)": (
        "`{op}` 的目标全部被忽略（ignore_index，或类别权重为 0）"
    ),
    "`nll_loss` gets numbers above 0, which no log-probability is": (
        "`nll_loss` 收到大于 0 的数，而对数概率不会大于 0"
    ),
    "apply `log_softmax` first, or use `cross_entropy` on the logits": (
        "先用 `log_softmax`，或对 logits 用 `cross_entropy`"
    ),
    "largest input": "最大输入",
    "of the loss function": "损失函数的输入",
    "classes": "类别数",
    "size of dimension 1 of the prediction": "预测的第 1 维大小",
    "entries compared": "参与比较的元素数",
    "ignored share of the targets": "被忽略目标的比例",
    "leave out the {op}: `cross_entropy` applies log-softmax itself": (
        "去掉 {op}：`cross_entropy` 自身会做 log-softmax"
    ),
    "leave out the {op}: the loss applies a sigmoid itself": (
        "去掉 {op}：损失函数自身会应用 sigmoid"
    ),
    "use `binary_cross_entropy_with_logits`, or one unit for each class": (
        "改用 `binary_cross_entropy_with_logits`，或每个类别一个输出单元"
    ),
    "make the shapes equal: `target.unsqueeze(1)` or `output.squeeze(1)`": (
        "使形状一致：`target.unsqueeze(1)` 或 `output.squeeze(1)`"
    ),
    "check how labels are masked: not one of them takes part in the loss": (
        "检查标签的屏蔽方式：没有一个参与损失"
    ),
}
