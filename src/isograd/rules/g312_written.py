"""G312: what a step changes is written over before the next one.

What it checks:
    The weights after each step of the optimizer and before its next one. Where most of a step is
    taken back in between, the short training is replayed with the weights as the optimizer left
    them. If that one learns, the writes are the cause. What the weights look like says which:
    many at one magnitude are clamped, few distinct values are rounded.

Why it matters:
    Loss and gradient look right, the optimizer steps, and nothing moves.

When it is wrong:
    Constraints (a norm, a sign, a sparsity mask) take back a part of every step by design. Where
    the net learns with them, nothing is said.

What to do:
    Find who writes to the weights: a clamp, a rounding, a state that is loaded again. Round a
    copy for the forward pass and keep the full weights for the optimizer.

References:
    Arjovsky et al. (2017) clamp at 0.01 a net that is wide enough for it; Courbariaux et al.
    (2015, BinaryConnect) and Micikevicius et al. (2018) on full-precision master weights.
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.records.finding import Cause
from isograd.records.training import HALF_UNDONE
from isograd.rules import proof
from isograd.rules.case import Case, span

CODE = "G312"
EXPLAINS = ("G101", "G303", "G308", "G402", "G603", "G701")
REQUIRES = ("training",)

_HOW: dict[str, tuple[str, Cause, str]] = {
    "bound": (
        "clamped",
        "clipping",
        "widen the bound until it holds outliers only, or clip gradients instead",
    ),
    "grid": (
        "rounded",
        "precision",
        "round a copy for the forward pass, and let the optimizer keep the full weights",
    ),
    "": (
        "written over",
        "optimizer-state",
        "look for `load_state_dict`, `copy_` or `.data` in the loop or in `forward`",
    ),
}


def check(case: Case) -> Iterator[Finding]:
    """One finding if the training learns without the writes."""
    training = case.training
    replay = proof.proved(case, "writes")
    if training is None or replay is None:
        return
    names = [name for name, share in training.undone.items() if share > HALF_UNDONE]
    how, cause, advice = _HOW[training.written]
    yield Finding(
        CODE,
        f"weights are {how} after each step, which takes back most of it: {span(names)}; without "
        f"that the loss ends at {replay.end():.3g}",
        "error",
        cause,
        where=tuple(names),
        evidence=(
            *proof.evidence(case, replay),
            Evidence(
                "share of a step that is taken back",
                max(training.undone.values()),
                "",
                HALF_UNDONE,
                "median over the steps",
            ),
        ),
        advice=(advice,),
        confidence=0.9,
    )


# Chinese for the texts above, by template.
ZH = {
    **proof.ZH,
    "weights are clamped after each step, which takes back most of it: {names}; without that the "
    "loss ends at {a}": "每步之后权重被截断，抵消了这一步的大部分：{names}；不这样做损失降到 {a}",
    "weights are rounded after each step, which takes back most of it: {names}; without that the "
    "loss ends at {a}": "每步之后权重被取整，抵消了这一步的大部分：{names}；不这样做损失降到 {a}",
    "weights are written over after each step, which takes back most of it: {names}; without that "
    "the loss ends at {a}": (
        "每步之后权重被改写，抵消了这一步的大部分：{names}；不这样做损失降到 {a}"
    ),
    "share of a step that is taken back": "一步中被抵消的比例",
    "median over the steps": "各步的中位数",
    "widen the bound until it holds outliers only, or clip gradients instead": (
        "放宽界限，使其只限制离群值；或改为裁剪梯度"
    ),
    "round a copy for the forward pass, and let the optimizer keep the full weights": (
        "前向时对副本取整，让优化器保留全精度权重"
    ),
    "look for `load_state_dict`, `copy_` or `.data` in the loop or in `forward`": (
        "检查循环或 `forward` 中的 `load_state_dict`、`copy_` 或 `.data`"
    ),
}
