"""G606: half precision keeps the net from learning, shown by replay.

What it checks:
    Where a short training goes badly and computes in float16 or bfloat16, the same training with
    weights, inputs and every cast in float32. If that one learns, the precision is the cause,
    whatever symptom it shows: an overflow, a division by an eps that is 0, updates or digits of
    the inputs that are rounded away.

Why it matters:
    float16 ends at 65504 and at 6e-8, bfloat16 has 8 significant bits; nothing raises where
    numbers leave that range.

When it is wrong:
    A replay draws other batches where the step owns its generator; a small difference proves
    nothing, and is not reported.

What to do:
    Keep the weights in float32 and run matrix products in half precision (`torch.autocast`);
    compute norms, sums, logarithms and softmax in float32; scale the loss for float16.

References:
    Micikevicius et al. (2018); Kalamkar et al. (2019) on bfloat16.
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding, Op
from isograd.rules import proof
from isograd.rules.case import Case

CODE = "G606"
EXPLAINS = (
    *("G101", "G102", "G103", "G104", "G105", "G108", "G109", "G112", "G301", "G303", "G304"),
    *("G308", "G106", "G309", "G311", "G402", "G403", "G404", "G406", "G409", "G701", "G702"),
)
REQUIRES = ("training",)

_HALF = ("float16", "bfloat16")


def check(case: Case) -> Iterator[Finding]:
    """One finding if the same training learns in float32."""
    training = case.training
    if training is None:
        return
    replay = proof.proved(case, "float32")
    if replay is None and training.stopped:
        replay = case.replay("float32")
    if replay is None:
        return
    ops = [op for op in case.snapshot.ops if op.output and op.output.dtype in _HALF]
    known = replay.detail or case.snapshot.dtype
    dtype = ops[0].output.dtype if ops and ops[0].output else known
    broken = next((op for op in ops if _broke(op)), None)
    yield Finding(
        CODE,
        f"{dtype} keeps the net from learning: in float32 the loss ends at {replay.end():.3g}",
        "error",
        "precision",
        where=(broken.module or broken.name,) if broken else (),
        source=broken.source if broken else None,
        evidence=(
            *proof.evidence(case, replay),
            Evidence(f"ops in {dtype}", len(ops), f"of {len(case.snapshot.ops)}"),
        ),
        advice=(
            "keep the weights in float32 and use `torch.autocast` for matrix products",
            "compute norms, sums, logarithms and softmax in float32",
            "with float16, scale the loss (`torch.amp.GradScaler`)",
        ),
        confidence=0.9,
    )


def _broke(op: Op) -> bool:
    return op.output is not None and op.output.nonfinite > 0


# Chinese for the texts above, by template.
ZH = {
    **proof.ZH,
    "{dtype} keeps the net from learning: in float32 the loss ends at {x}": (
        "{dtype} 使网络无法学习：用 float32 时损失降到 {x}"
    ),
    "ops in {dtype}": "使用 {dtype} 的算子",
    "keep the weights in float32 and use `torch.autocast` for matrix products": (
        "权重保持 float32，矩阵乘法用 `torch.autocast`"
    ),
    "compute norms, sums, logarithms and softmax in float32": (
        "范数、求和、对数和 softmax 用 float32 计算"
    ),
    "with float16, scale the loss (`torch.amp.GradScaler`)": (
        "用 float16 时放大损失（`torch.amp.GradScaler`）"
    ),
}
