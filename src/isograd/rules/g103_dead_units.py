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
from isograd.rules.case import Case, span

CODE = "G103"
EXPLAINS = ("G101", "G105")
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
    worst = max(dead, key=lambda op: op.units.dead_fraction if op.units else 0.0)
    assert worst.units is not None
    names = [op.module or op.name for op in dead]
    total = worst.units.dead_fraction == 1
    yield Finding(
        CODE,
        f"dead units: {worst.units.dead_fraction:.0%} of `{worst.module or worst.name}` never "
        f"activates ({span(names)})",
        "error" if total else "warning",
        "dead-units",
        where=tuple(dict.fromkeys(names)),
        source=worst.source,
        evidence=tuple(
            Evidence(
                f"dead share of {op.module or op.name}",
                op.units.dead_fraction if op.units else 0.0,
                "",
                DEAD,
                f"units silent for all {_values(op)} values of the batch",
            )
            for op in dead
        ),
        advice=(
            "check the biases in front of it: a large negative bias silences a unit",
            "initialise with He and biases at 0, lower the learning rate",
            "use leaky ReLU or GELU",
        ),
        confidence=0.95 if total else 0.8,
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
    "dead units: {share} of `{a}` never activates ({where})": (
        "神经元死亡：`{a}` 中 {share} 的单元从不激活（{where}）"
    ),
    "dead share of {name}": "{name} 中死亡单元的比例",
    "units silent for all {n} values of the batch": "在该批全部 {n} 个取值上都为零的单元",
    "check the biases in front of it: a large negative bias silences a unit": (
        "检查它前面的偏置：很大的负偏置会让单元永远不激活"
    ),
    "initialise with He and biases at 0, lower the learning rate": (
        "用 He 初始化、偏置取 0，并降低学习率"
    ),
    "use leaky ReLU or GELU": "改用 leaky ReLU 或 GELU",
}
