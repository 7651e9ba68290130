"""G505: a weight is made anew in every forward pass.

What it checks:
    Weights of layers that are `nn.Parameter`s, belong to no module of the model, and are gone
    when the step is over.

Why it matters:
    A layer that is built inside `forward` starts at random at each step, and a parameter that is
    wrapped anew (`nn.Parameter(self.weight * 2)`) is cut off from the one it was made of. No
    optimizer holds either.

When it is wrong:
    A random projection drawn at each step on purpose; where the net learns with it, this only
    explains.

What to do:
    Build layers in `__init__`; compute with the parameter itself and not with a new one.

References:
    The documentation of `torch.nn.Module` and `torch.nn.Parameter`.
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.rules.case import Case

CODE = "G505"
EXPLAINS = ("G108", "G301", "G303", "G402", "G406", "G501", "G701")
REQUIRES: tuple[str, ...] = ()


def check(case: Case) -> Iterator[Finding]:
    """One finding for all such weights."""
    passing = case.snapshot.passing
    if not passing:
        return
    alarm = case.training is None or case.poor
    source = passing[0].rpartition(" at ")[2]
    lost = [
        name
        for name, stats in case.snapshot.parameters.items()
        if stats.missing is not None and stats.missing.reason in ("unused", "not on the path")
    ]
    yield Finding(
        CODE,
        f"a weight {passing[0].rpartition(' at ')[0]} is made anew in every forward pass",
        "error" if alarm else "info",
        "graph-cut" if alarm else "none",
        where=tuple(lost),
        source=None if source == "None" else source,
        evidence=(
            Evidence("weights that are gone after the step", len(passing), "", 0),
            Evidence("parameters left unused", len(lost)),
        ),
        advice=(
            "build layers in `__init__`, not in `forward`",
            "compute with the parameter itself: `nn.Parameter(...)` in `forward` cuts it off",
        ),
        confidence=0.85 if alarm else 0.6,
    )


# Chinese for the texts above, by template.
ZH = {
    "a weight {what} is made anew in every forward pass": "权重 {what} 在每次前向中都重新创建",
    "weights that are gone after the step": "这一步之后不复存在的权重",
    "parameters left unused": "未被使用的参数",
    "build layers in `__init__`, not in `forward`": "在 `__init__` 中创建层，而不是在 `forward` 中",
    "compute with the parameter itself: `nn.Parameter(...)` in `forward` cuts it off": (
        "直接用参数本身计算：`forward` 中的 `nn.Parameter(...)` 会切断它"
    ),
}
