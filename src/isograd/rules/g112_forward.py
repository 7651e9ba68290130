"""G112: the forward signal explodes or dies out on the way through the net.

What it checks:
    The RMS of what the last layer reads against what the first layer puts out, and which kind
    of op changed it, step by step back along the largest inputs.

Why it matters:
    The gradient of a weight is a forward factor times a backward factor; a net can be sick in
    the first alone. Branches of unit gain double the signal at each addition.

When it is wrong:
    Where the net learns all the same (a scale that a norm takes out again), this only explains.

What to do:
    Scale residual branches by 1/sqrt(2 depth) or start their last layer at 0; initialise weights
    for the activation; a recurrent weight of gain 1.

References:
    Zhang et al. (2019, Fixup); De and Smith (2020, SkipInit); He et al. (2015).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isograd.records import Evidence, Finding, Op
from isograd.records.finding import Cause
from isograd.rules.case import Case

CODE = "G112"
EXPLAINS = ("G301", "G303", "G308", "G402", "G409", "G601")
REQUIRES = ("layers",)

# Healthy nets stay within a factor of 30 (benchmarks/diagnosis, dev half); a residual net whose
# branches have unit gain passes 100 with 14 blocks.
DECADES = 2.0
# Biases carry a signal that dies out; PyTorch's default initialisation loses 0.4 a layer.
DYING = 3.0
# Past this a net that learns a little is sick all the same.
SURE = 4.0
_CAUSES: dict[str, Cause] = {"residual": "residual-scale", "recurrence": "recurrence"}


def check(case: Case) -> Iterator[Finding]:
    """One finding if the signal changes that much and the net does not learn."""
    layers = [
        op
        for op in case.snapshot.ops
        if op.kind in ("weight", "recurrence") and op.on_path and _rms(op) > 0
    ]
    if len(layers) < 2 or any(op.output and op.output.nonfinite for op in case.snapshot.ops):
        return
    first, last = layers[0], layers[-1]
    if first.output is None or last.inputs is None or not case.poor:
        return
    start, end = first.output.rms, last.inputs.rms
    if not (0 < start < math.inf and 0 < end < math.inf) or len(case.snapshot.ops) < 6:
        return
    grown = math.log10(end / start)
    if -DYING < grown < DECADES:
        return
    if not case.failing and grown < SURE:
        return
    by_kind = _walk(case, last, first)
    kind = max(by_kind, key=lambda k: by_kind[k] * math.copysign(1, grown), default="weight")
    looped = any(op.loops for op in layers)
    cause = "recurrence" if looped else _CAUSES.get(kind, "weight-scale")
    how = "explodes" if grown > 0 else "dies out"
    yield Finding(
        CODE,
        f"the forward signal {how}: {abs(grown):.1f} decades between `{first.module}` and "
        f"`{last.module}`",
        "error",
        cause,
        where=(first.module, last.module),
        source=last.source,
        evidence=(
            Evidence(
                "input of the last layer / output of the first",
                grown,
                "decades",
                math.copysign(DECADES, grown),
                "RMS, log10",
            ),
            Evidence(f"decades by {kind} ops", by_kind.get(kind, 0.0), "decades"),
        ),
        advice=(
            "scale residual branches by 1/sqrt(2 depth), or normalise",
            "initialise the weights for this activation: variance 2/fan_in for ReLU, 1/fan_in "
            "for tanh",
        ),
        confidence=0.9,
    )


def _walk(case: Case, last: Op, first: Op) -> dict[str, float]:
    """Decades gained per kind of op, back along the largest inputs."""
    ops = case.snapshot.ops
    total: dict[str, float] = {}
    here = last
    while here.sources and here.index > first.index:
        above = max((ops[i] for i in here.sources), key=_rms)
        if here is not last and _rms(here) > 0 and _rms(above) > 0:
            kind = "recurrence" if here.loops else here.kind
            total[kind] = total.get(kind, 0.0) + math.log10(_rms(here) / _rms(above))
        here = above
    return total


def _rms(op: Op) -> float:
    return op.output.rms if op.output is not None and math.isfinite(op.output.rms) else 0.0


# Chinese for the texts above, by template.
ZH = {
    "the forward signal {how}: {x} decades between `{a}` and `{b}`": (
        "前向信号 {how}：从 `{a}` 到 `{b}` 相差 {x} 个数量级"
    ),
    "input of the last layer / output of the first": "末层输入 / 首层输出",
    "RMS, log10": "均方根，取以 10 为底的对数",
    "decades by {kind} ops": "其中由 {kind} 类算子造成的数量级变化",
}
