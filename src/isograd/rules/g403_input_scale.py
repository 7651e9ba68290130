"""G403: inputs are far from unit scale, shown by replay.

What it checks:
    Where data enter a layer with an RMS far from 1, or with columns of very different size, the
    same training with every input standardised. If it ends far lower, scale is the cause.

Why it matters:
    A column a thousand times larger makes a curvature a million times larger: the rate that
    suits it leaves all other columns unlearnt, and units saturate or die.

When it is wrong:
    Inputs whose scale is the message and that the net learns well: then the replay is no better.

What to do:
    Standardise each column with the mean and standard deviation of the training set.

References:
    LeCun et al. (1998), section 4.3.
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding, Op
from isograd.rules import proof
from isograd.rules.case import Case

CODE = "G403"
EXPLAINS = ("G101", "G102", "G103", "G104", "G112", "G108", "G301", "G303", "G308", "G402", "G601")
REQUIRES = ("training",)

# Without a replay, scales at which activations and curvature are off by a thousand.
LARGE = 30.0
SMALL = 1e-3
COLUMNS = 50.0
_TABLES = ("embedding", "embedding_bag", "index_select", "gather", "__getitem__")


def check(case: Case) -> Iterator[Finding]:
    """One finding if standardised inputs train far better."""
    replay = proof.proved(case, "inputs")
    first = _entry(case)
    if first is not None and _blank(case, first):
        yield _unproved(first)
        return
    if replay is None and first is not None and proof.unproved(case) and _far(first):
        yield _unproved(first)
        return
    if replay is None or first is None or first.inputs is None:
        return
    single = case.replay("float32")
    if single is not None and single.end() <= replay.end():
        return  # these inputs are fine in float32: G606 says it
    columns = first.inputs.columns
    yield Finding(
        CODE,
        f"inputs are far from unit scale (RMS {first.inputs.rms:.3g}): standardised, the loss ends "
        f"at {replay.end():.3g}",
        "error",
        "input-scale",
        where=(first.module,) if first.module else (),
        source=first.source,
        evidence=(
            *proof.evidence(case, replay),
            Evidence("RMS of the inputs", first.inputs.rms, "", 1.0),
            *((Evidence("largest column / median one", columns, "", 1.0),) if columns else ()),
        ),
        advice=("scale each input column to zero mean and unit variance",),
        confidence=0.9,
    )


def _far(op: Op) -> bool:
    stats = op.inputs
    if stats is None or stats.nonfinite:
        return False  # what is not finite has no scale: G601 says it
    uneven = stats.columns is not None and stats.columns > COLUMNS and stats.rms > 1
    return not SMALL < stats.rms < LARGE or uneven


def _blank(case: Case, first: Op) -> bool:
    """True if all that enters the net is zero; tokens enter by a table of their own."""
    tokens = any(op.name in _TABLES for op in case.snapshot.ops)
    return first.inputs is not None and first.inputs.rms == 0 and case.failing and not tokens


def _unproved(op: Op) -> Finding:
    """In a loop that cannot be run again, the scale itself where the net does not learn."""
    rms = op.inputs.rms if op.inputs else 0.0
    columns = op.inputs.columns if op.inputs else None
    return Finding(
        CODE,
        f"inputs are {'all zero' if rms == 0 else f'far from unit scale (RMS {rms:.3g})'}, and "
        "the net does not learn",
        "error",
        "input-scale" if rms else "data",
        where=(op.module,) if op.module else (),
        source=op.source,
        evidence=(
            Evidence("RMS of the inputs", rms, "", LARGE),
            *((Evidence("largest column / median one", columns, "", COLUMNS),) if columns else ()),
        ),
        advice=("scale each input column to zero mean and unit variance",),
        confidence=0.6,
    )


def _entry(case: Case) -> Op | None:
    """The op that reads the data furthest from unit scale."""
    entries = [op for op in case.snapshot.ops if op.inputs and not op.sources and op.kind != "loss"]
    return max(entries, key=lambda op: op.inputs.rms if op.inputs else 0.0, default=None)


# Chinese for the texts above, by template.
ZH = {
    "inputs are {what}, and the net does not learn": "输入{what}，且网络没有在学习",
    **proof.ZH,
    "inputs are far from unit scale (RMS {x}): standardised, the loss ends at {a}": (
        "输入远离单位尺度（均方根 {x}）：标准化之后损失降到 {a}"
    ),
    "RMS of the inputs": "输入的均方根",
    "largest column / median one": "最大列与中位列之比",
    "scale each input column to zero mean and unit variance": (
        "把每个输入列标准化为零均值、单位方差"
    ),
}
