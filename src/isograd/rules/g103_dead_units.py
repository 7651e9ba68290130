"""G103: units that no sample of the batch activates.

What it checks:
    For each ReLU, the share of units whose output is zero for every sample and position.

Why it matters:
    A dead unit passes no gradient and its weights never change again.

When it is wrong:
    On a small batch a rare feature looks dead. Zeros in 40 % of the entries are normal: only
    units that are silent for the whole batch count.

What to do:
    Lower the learning rate that pushed biases down, start biases at 0, use He initialisation, or
    an activation with a slope on both sides (leaky ReLU, GELU).

References:
    Maas et al. (2013); Lu et al. (2019).
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding, Op
from isograd.records.finding import Cause
from isograd.rules.case import Case

CODE = "G103"
EXPLAINS = ("G101", "G105", "G108", "G402")
REQUIRES: tuple[str, ...] = ()

# In a ReLU net with correlated inputs half of the units are silent by symmetry: a unit sees
# nearly the same input from every sample and is on or off for all of them.
DEAD = 0.8
# With fewer values per unit than this a unit can be silent by chance: 2**-8 = 0.4 %.
VALUES = 8


def check(case: Case) -> Iterator[Finding]:
    """One finding for all layers whose units are mostly dead."""
    dead = [
        op
        for op in case.hidden_activations()
        if op.units is not None
        and op.units.saturated_fraction is None
        and op.units.dead_fraction >= DEAD
        and _values(op) >= VALUES
    ]
    if not dead:
        return
    first = dead[0]
    assert first.units is not None
    layer = _feeding(case, first)
    name = f"`{layer}`" if layer else f"`{first.module or first.name}`"
    silent = first.inputs is not None and first.inputs.absmax == 0
    total = first.units.dead_fraction == 1
    cause = _cause(case, first) if silent else "dead-units"
    rest = f"; {len(dead) - 1} more below follow from it" if len(dead) > 1 else ""
    yield Finding(
        CODE,
        f"dead units: {100 * first.units.dead_fraction:.0f} % of the units behind {name} never "
        f"activate{rest}",
        "error" if total else "warning",
        cause,
        where=tuple(dict.fromkeys(n for n in (layer, first.module) if n)),
        source=first.source,
        evidence=(
            Evidence(
                "dead share",
                first.units.dead_fraction,
                "",
                DEAD,
                "units silent for every value of the batch",
            ),
            Evidence("values per unit", _values(first), "", VALUES),
            *(
                (
                    Evidence("mean of its input", first.inputs.mean, "", None, "pre-activation"),
                    Evidence("RMS of its input", first.inputs.rms, "", None, "pre-activation"),
                )
                if first.inputs
                else ()
            ),
        ),
        advice=_advice(silent, first),
        confidence=0.95 if total else 0.8,
    )


def _feeding(case: Case, op: Op) -> str:
    """The layer in front of an activation."""
    before = [layer for layer in case.snapshot.layers if layer.op_index < op.index]
    return before[-1].module if before else ""


def _cause(case: Case, op: Op) -> Cause:
    """What makes the input of an activation exactly zero: the op right in front of it."""
    before = case.snapshot.ops[op.index - 1].kind if op.index else "other"
    return "normalization" if before == "normalization" else "weight-scale"


def _advice(silent: bool, op: Op) -> tuple[str, ...]:
    if silent:
        return ("the layer in front puts out exactly 0: its weights are zero, initialise them",)
    low = op.inputs is not None and op.inputs.mean < -op.inputs.rms / 2
    return (
        *(("its biases push every sample below 0: start biases at 0",) if low else ()),
        "initialise the weights with He and lower the learning rate that pushed it there",
        "or use leaky ReLU or GELU",
    )


def _values(op: Op) -> int:
    if op.output is None or op.units is None:
        return 0
    entries = 1
    for size in op.output.shape:
        entries *= size
    return entries // max(1, op.units.units)


# Chinese for the texts above, by template.
ZH = {
    "dead units: {share} % of the units behind `{name}` never activate; {n} more below follow "
    "from it": "神经元死亡：`{name}` 之后 {share} % 的单元从不激活；其后另有 {n} 处由此引起",
    "dead units: {share} % of the units behind `{name}` never activate": (
        "神经元死亡：`{name}` 之后 {share} % 的单元从不激活"
    ),
    "dead share": "死亡单元的比例",
    "units silent for every value of the batch": "在该批所有取值上都为零的单元",
    "values per unit": "每个单元的取值个数",
    "mean of its input": "其输入的均值",
    "the layer in front puts out exactly 0: its weights are zero, initialise them": (
        "前面的层输出恒为 0：其权重为零，请初始化"
    ),
    "its biases push every sample below 0: start biases at 0": (
        "偏置把所有样本压到 0 以下：偏置应从 0 开始"
    ),
    "initialise the weights with He and lower the learning rate that pushed it there": (
        "用 He 初始化权重，并降低把它推到这里的学习率"
    ),
    "or use leaky ReLU or GELU": "或改用 leaky ReLU 或 GELU",
}
