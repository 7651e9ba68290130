"""G106: an attention softmax has collapsed onto single keys.

What it checks:
    The entropy of sampled attention rows against that of a uniform row, at the start.

Why it matters:
    A softmax that picks one key has no derivative: queries and keys do not learn.

When it is wrong:
    A trained head may be sharp on purpose; the limit is far below such heads.

What to do:
    Divide the logits by sqrt(d), normalise queries and keys, or cap the logits.

References:
    Vaswani et al. (2017); Zhai et al. (2023) on entropy collapse; Dehghani et al. (2023).
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding, Op
from isograd.rules import proof
from isograd.rules.case import Case

CODE = "G106"
EXPLAINS = ("G101", "G303", "G402")
REQUIRES: tuple[str, ...] = ()
# A twentieth of the entropy of a uniform row; at random initialisation it is 0.98 or more.
ENTROPY = 0.05


def check(case: Case) -> Iterator[Finding]:
    """One finding for all collapsed attention ops."""
    start = _collapsed(case.snapshot.ops) or _gates(case)
    hit = start or _collapsed(_later(case))
    if not hit:
        return
    worst = min(hit, key=lambda op: op.attention.entropy if op.attention else 1.0)
    assert worst.attention is not None
    if worst.attention.sampled_rows == 0:
        yield _masked(hit)
        return
    grew = "" if start else " at the end of the training"
    yield Finding(
        CODE,
        f"attention of `{worst.module or worst.name}` looks at one key only: entropy "
        f"{worst.attention.entropy:.3f} of 1{grew}",
        "error",
        "attention-scale",
        where=tuple(dict.fromkeys(op.module or op.name for op in hit)),
        source=worst.source,
        evidence=(
            Evidence("entropy / ln(keys)", worst.attention.entropy, "", ENTROPY, "sampled rows"),
            Evidence("largest logit", worst.attention.logit_max),
        ),
        advice=(
            "divide the logits by sqrt(d) of the head",
            "or normalise queries and keys, or cap the logits",
        ),
        confidence=0.9,
        step=0 if start else len(case.training.loss) - 1 if case.training else 0,
    )


def _masked(hit: list[Op]) -> Finding:
    first = hit[0]
    keys = first.attention.keys if first.attention else 0
    return Finding(
        CODE,
        f"the mask of `{first.module or first.name}` leaves one key of {keys} to every query",
        "error",
        "attention-scale",
        where=tuple(dict.fromkeys(op.module or op.name for op in hit)),
        source=first.source,
        evidence=(Evidence("entropy / ln(keys)", 0.0, "", ENTROPY, "sampled rows"),),
        advice=("print the mask: True and 0 must stand where a query may look",),
        confidence=0.9,
    )


def _collapsed(ops: tuple[Op, ...]) -> list[Op]:
    return [
        op
        for op in ops
        if op.kind == "attention"
        and op.attention is not None
        and op.on_path
        and op.attention.entropy < ENTROPY
        and op.attention.keys > 2
    ]


def _gates(case: Case) -> list[Op]:
    """Softmaxes that later layers read, one-hot from the start in a training that goes badly.

    Attention pooling and gates written without a matrix product; a sharp gate may be meant, so
    that they count only where little is learnt.
    """
    if not case.poor:
        return []
    return [
        op
        for op in case.snapshot.ops
        if op.name == "softmax"
        and op.on_path
        and op.index not in case.before_loss
        and op.attention is not None
        and op.attention.entropy < ENTROPY
        and op.attention.keys > 2
    ]


def _later(case: Case) -> tuple[Op, ...]:
    """Ops at the end of a training that learns little."""
    if case.training is None or not case.poor or proof.proved(case, "rate") is not None:
        return ()  # a rate that is too high drives logits up
    end = case.training.end
    return end.ops if end is not None else ()


# Chinese for the texts above, by template.
ZH = {
    "attention of `{m}` looks at one key only: entropy {x} of 1 at the end of the training": (
        "训练结束时 `{m}` 的注意力只看一个键：熵为 {x}（最大为 1）"
    ),
    "attention of `{m}` looks at one key only: entropy {x} of 1": (
        "`{m}` 的注意力只看一个键：熵为 {x}（最大为 1）"
    ),
    "the mask of `{m}` leaves one key of {n} to every query": (
        "`{m}` 的掩码只给每个查询留下 {n} 个键中的一个"
    ),
    "print the mask: True and 0 must stand where a query may look": (
        "打印掩码：查询可以看的位置应为 True（或 0）"
    ),
    "entropy / ln(keys)": "熵 / ln（键数）",
    "sampled rows": "抽样的行",
    "largest logit": "最大 logit",
    "divide the logits by sqrt(d) of the head": "把 logits 除以每头维度的 sqrt(d)",
    "or normalise queries and keys, or cap the logits": "或对 q 和 k 做归一化，或限制 logits",
}
