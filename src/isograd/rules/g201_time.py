"""G201: the gradient vanishes or explodes along the time axis of a recurrent layer.

What it checks:
    For each fused recurrent layer, unrolled: the norm of the gradient at its first state against
    the largest over time. Losses at every step inject gradients all along, so the product of the
    gains alone says nothing; the norms do.

Why it matters:
    Weights are shared over time, so their gradient looks healthy while nothing from early steps
    reaches it: what happened there cannot be learnt.

When it is wrong:
    If the answer stands in the last few steps, early ones are not needed. Without a training
    that fails to learn this is therefore an explanation, not an alarm.

What to do:
    Start LSTM forget gates at 1 or at chrono values, use an orthogonal recurrent weight, shorten
    the sequence, or read all outputs instead of the last.

References:
    Hochreiter and Schmidhuber (1997); Pascanu et al. (2013); Tallec and Ollivier (2018).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from isograd.records import Evidence, Finding, Snapshot, TimeGains
from isograd.records.chain import decades
from isograd.rules import proof
from isograd.rules.case import Case
from isograd.rules.loops import handwritten

CODE = "G201"
EXPLAINS = ("G101", "G102", "G108", "G112", "G402")
REQUIRES: tuple[str, ...] = ()

# A ten-thousandth of the largest: below the scatter between batches by two orders of magnitude.
DECADES = 4.0
# A gain of exactly 0 counts as float32's smallest number.
ZERO = 45.0
# A gain of 0.35 a step; default cells pass on 0.46 (RNN) to 0.61 (GRU).
SHUT = 0.45
SHUT_ALL = 8.0


def check(case: Case) -> Iterator[Finding]:
    """One finding for each layer whose first state gets next to nothing, or far too much."""
    for track in (*case.snapshot.recurrent, *handwritten(case.snapshot)):
        top = max(track.norms, default=0.0)
        if top <= 0 or len(track.norms) < 2:
            continue
        # Norms stand in the order in which steps were processed, the last nearest to the loss.
        lost = decades(track.norms[0] / top)
        grown = decades(top / track.norms[-1]) if track.norms[-1] > 0 else 0.0
        if lost < -DECADES:
            yield _finding(case, track, lost, "vanishes")
        elif grown > DECADES:
            yield _finding(case, track, grown, "explodes")
        elif _judged(case) and _product(track) < -DECADES and not _explained(case):
            # Common to many recurrent nets, so that anything more specific goes first.
            finding = _finding(case, track, _product(track), "vanishes")
            yield replace(finding, severity="warning")


def exploding(snapshot: Snapshot) -> bool:
    """True if the gradient through the steps of a loop grows beyond the bound."""
    for track in (*snapshot.recurrent, *handwritten(snapshot)):
        if track.norms and 0 < track.norms[-1]:
            if decades(max(track.norms) / track.norms[-1]) > DECADES:
                return True
    return False


def _judged(case: Case) -> bool:
    """True if the net fails, was given time, and other changes were tried."""
    given = case.training is not None and len(case.training.replays) > 0
    return given and case.failing and not case.learns_later


def _product(track: TimeGains) -> float:
    """Decades of the product of the gains: what reaches the first state from the last."""
    return sum(decades(gain) if gain > 0 else -ZERO for gain in track.gains)


def _explained(case: Case) -> bool:
    """True if a replay with one other thing changed learns."""
    return proof.specific(case) is not None or proof.proved(case, "rate") is not None


def _finding(case: Case, track: TimeGains, value: float, how: str) -> Finding:
    # Fewer decades a step than at PyTorch's default initialisation are a fault of their own.
    shut = case.poor and value < -SHUT_ALL and value / max(1, len(track.norms) - 1) < -SHUT
    fails = case.failing or shut
    steps = len(track.norms)
    severity = "error" if fails else ("warning" if how == "explodes" else "info")
    return Finding(
        CODE,
        f"gradient {how} through time in `{track.module}`: {abs(value):.1f} decades over "
        f"{steps} steps",
        severity,
        "recurrence",
        where=(track.module,),
        source=next((x.source for x in case.snapshot.layers if x.module == track.module), None),
        evidence=(
            Evidence(
                "first state against the largest" if how == "vanishes" else "largest against last",
                value,
                "decades",
                -DECADES if how == "vanishes" else DECADES,
                f"layer {track.layer}, {track.direction}, unrolled in float64",
            ),
            Evidence("gain per step", 10 ** (value / (steps - 1)), "", None, "geometric mean"),
        ),
        advice=(
            "start the forget-gate bias at 1 or more (LSTM), or use an orthogonal recurrent weight",
            "shorten the sequence, or read all outputs instead of the last",
        )
        if how == "vanishes"
        else (
            "use an orthogonal recurrent weight of gain 1, or a smaller one",
            "clip the gradient norm",
        ),
        confidence=0.9 if fails else 0.6,
    )


# Chinese for the texts above, by template.
ZH = {
    "gradient vanishes through time in `{m}`: {a} decades over {n} steps": (
        "`{m}` 中梯度沿时间消失：{n} 步损失 {a} 个数量级"
    ),
    "gradient explodes through time in `{m}`: {a} decades over {n} steps": (
        "`{m}` 中梯度沿时间爆炸：{n} 步放大 {a} 个数量级"
    ),
    "first state against the largest": "首个状态与最大值之比",
    "largest against last": "最大值与末状态之比",
    "layer {l}, {d}, unrolled in float64": "第 {l} 层，{d}，以 float64 展开",
    "gain per step": "每步增益",
    "geometric mean": "几何平均",
    "start the forget-gate bias at 1 or more (LSTM), or use an orthogonal recurrent weight": (
        "让遗忘门偏置从 1 或更大开始（LSTM），或使用正交的循环权重"
    ),
    "shorten the sequence, or read all outputs instead of the last": (
        "缩短序列，或读取全部输出而不只是最后一个"
    ),
    "use an orthogonal recurrent weight of gain 1, or a smaller one": (
        "使用增益为 1 的正交循环权重，或更小的权重"
    ),
    "clip the gradient norm": "裁剪梯度范数",
}
