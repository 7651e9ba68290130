"""G308: weights grow many times over within a short training.

What it checks:
    The norm of each weight at the end of a short training against its start, for weights that
    do not start near zero.

Why it matters:
    Gains of linear layers grow with their weights; a few more steps and numbers overflow or
    units saturate.

When it is wrong:
    A weight that starts at or near zero on purpose grows by any factor; weights below a tenth of
    the median RMS of all weights at the start are left out.

What to do:
    Lower the learning rate; add weight decay if growth is slow and steady.

References:
    Measured: healthy trainings of 50 steps grow by 3.3 at most (benchmarks/diagnosis, dev half).
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from isograd.records import Evidence, Finding, Training
from isograd.rules.case import Case

CODE = "G308"
EXPLAINS = ("G106", "G402")
REQUIRES = ("training",)
FACTOR = 6.0
NEAR_ZERO = 0.1
# A loss that ends above its start by more than batches scatter.
WORSE = 1.05
# A gradient along the weight itself, downhill: what grows is wanted by the loss.
REWARDED = -0.6


def _norm_gains(case: Case, training: Training) -> Iterator[Finding]:
    """Gains of normalisations start at 1; many times that is no scale of data."""
    norms = {op.module for op in case.snapshot.ops if op.kind == "normalization" and op.module}
    for name, track in training.parameters.items():
        module, _, last = name.rpartition(".")
        if module not in norms or last != "weight" or not track.weight or track.weight[0] <= 0:
            continue
        grown = track.weight[-1] / track.weight[0]
        if grown > FACTOR:
            yield Finding(
                CODE,
                f"the gain of `{module}` grows to {_times(grown)} times its norm in "
                f"{len(training.loss)} steps",
                "error",
                "normalization",
                where=(name,),
                evidence=(Evidence("norm at the end / at the start", grown, "", FACTOR),),
                advice=("lower the learning rate of the normalisation's gain",),
                confidence=0.8,
            )
            return


def check(case: Case) -> Iterator[Finding]:
    """One finding for the weight that grew the most."""
    training = case.training
    if training is None or len(training.loss) < 5:
        return
    if case.poor:
        gains = list(_norm_gains(case, training))
        if gains:
            yield from gains
            return
    sizes = {n: p.shape for n, p in case.snapshot.parameters.items() if not n.endswith("bias")}
    scale = {
        n: _rms(training.parameters[n].weight[0], s)
        for n, s in sizes.items()
        if n in training.parameters
    }
    if not scale:
        return
    usual = median(scale.values())
    grown = {
        name: training.parameters[name].weight[-1] / training.parameters[name].weight[0]
        for name, rms in scale.items()
        if rms > NEAR_ZERO * usual and rms > 0
    }
    name = max(grown, key=lambda n: grown[n], default=None)
    if name is None or not grown[name] > FACTOR:
        return
    rewarded = _rewarded(training, name)
    worse = bool(training.stopped) or case.blind or training.loss[-1] > WORSE * case.start
    if not (case.failing and worse) and not rewarded:
        return  # weights that start small and learn grow, and are left alone
    radial = training.parameters[name].radial
    yield Finding(
        CODE,
        f"weights grow: `{name}` to {_times(grown[name])} times its norm in "
        f"{len(training.loss)} steps",
        "error",
        "regularization" if rewarded else "learning-rate",
        where=(name,),
        evidence=(
            Evidence("norm at the end / at the start", grown[name], "", FACTOR),
            Evidence("cosine of weight and gradient", median(radial) if radial else 0.0),
            Evidence("learning rate", max(training.learning_rate, default=0.0)),
        ),
        advice=("check the sign of the penalty on the weights: the loss rewards their growth",)
        if rewarded
        else ("divide the learning rate by 10",),
        confidence=0.8,
        step=len(training.loss) - 1,
    )


def _times(ratio: float) -> str:
    """A ratio in words that are short also where it has no bounds."""
    return f"{ratio:.1f}" if ratio < 1e4 else f"{ratio:.1e}"


def _rewarded(training: Training, name: str) -> bool:
    """True if the loss falls without end because this weight grows."""
    tracks = [t.radial for n, t in training.parameters.items() if t.radial and "bias" not in n]
    radial = [median(track) for track in tracks]
    fell = training.loss[-1] < 0 and abs(training.loss[-1]) > FACTOR * abs(training.loss[0])
    return fell and len(radial) > 0 and median(radial) < REWARDED


def _rms(norm: float, shape: tuple[int, ...]) -> float:
    count = 1
    for size in shape:
        count *= size
    return norm / max(1, count) ** 0.5


# Chinese for the texts above, by template.
ZH = {
    "the gain of `{m}` grows to {x} times its norm in {n} steps": (
        "`{m}` 的增益参数在 {n} 步内增长到 {x} 倍"
    ),
    "lower the learning rate of the normalisation's gain": "降低归一化增益参数的学习率",
    "weights grow: `{name}` to {x} times its norm in {n} steps": (
        "权重增长：`{name}` 的范数在 {n} 步内变为 {x} 倍"
    ),
    "check the sign of the penalty on the weights: the loss rewards their growth": (
        "检查权重惩罚项的符号：损失在奖励权重增长"
    ),
    "cosine of weight and gradient": "权重与梯度夹角的余弦",
    "norm at the end / at the start": "末尾范数与起始范数之比",
    "learning rate": "学习率",
    "divide the learning rate by 10": "把学习率除以 10",
}
