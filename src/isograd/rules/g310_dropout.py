"""G310: so much dropout that the net cannot learn, shown by replay.

What it checks:
    Where a short training goes badly, the same training with every dropout above 0.75 left out.

Why it matters:
    At p = 0.95 one unit in twenty is left, scaled up twentyfold: noise instead of a signal.

When it is wrong:
    Strong dropout against overfitting on few data slows the start; then the loss falls all the
    same, and the share that the replay must take off is larger.

What to do:
    A rate between 0.1 and 0.5. Was the rate to keep taken for the rate to drop?

References:
    Srivastava et al. (2014).
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Finding
from isograd.rules import proof
from isograd.rules.case import Case

CODE = "G310"
EXPLAINS = ("G303", "G308", "G402", "G701")
REQUIRES = ("training",)


def check(case: Case) -> Iterator[Finding]:
    """One finding if the training learns without its strong dropout."""
    replay = proof.proved(case, "dropout") or proof.released(case, "dropout")
    if replay is None:
        return
    ops = [op for op in case.snapshot.ops if op.kind == "dropout"]
    yield Finding(
        CODE,
        f"too much dropout: without it the loss ends at {replay.end():.3g}",
        "error",
        "regularization",
        where=tuple(dict.fromkeys(op.module or op.name for op in ops)),
        source=ops[0].source if ops else None,
        evidence=proof.evidence(case, replay),
        advice=(
            "use a rate between 0.1 and 0.5",
            "torch's `p` is the share that is dropped, not the share that is kept",
        ),
        confidence=0.85,
    )


# Chinese for the texts above, by template.
ZH = {
    **proof.ZH,
    "too much dropout: without it the loss ends at {a}": "dropout 太强：去掉它之后损失降到 {a}",
    "use a rate between 0.1 and 0.5": "使用 0.1 到 0.5 之间的比率",
    "torch's `p` is the share that is dropped, not the share that is kept": (
        "torch 的 `p` 是丢弃的比例，不是保留的比例"
    ),
}
