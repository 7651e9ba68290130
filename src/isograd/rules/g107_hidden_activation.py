"""G107: softmax or exp between two layers.

What it checks:
    Whether a layer reads the output of a softmax or of an exponential directly, and whether the
    short training fails or breaks with it.

Why it matters:
    A softmax over n units puts out numbers near 1/n whose derivative is as small; an exponential
    multiplies whatever scale arrives, forward and backward.

When it is wrong:
    A mixture (gates, attention, topics) is meant to be a softmax. Where the net learns with it,
    this only explains.

What to do:
    ReLU, GELU or tanh between layers; softmax only for attention, gates and the final
    probabilities; a positive parameter through softplus.

References:
    Bridle (1990) on softmax as an output.
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding, Op
from isograd.rules.case import Case

CODE = "G107"
EXPLAINS = ("G101", "G102", "G301", "G303", "G402", "G601")
REQUIRES: tuple[str, ...] = ()

_UNFIT = frozenset("softmax softmin log_softmax exp exp_ expm1".split())


def check(case: Case) -> Iterator[Finding]:
    """One finding for all such activations."""
    read = {source for index in case.layer_ops for source in case.reads(index)}
    hit = [
        op
        for op in case.snapshot.ops
        if op.kind == "activation" and op.name in _UNFIT and op.on_path and op.index in read
    ]
    if not hit:
        return
    first = hit[0]
    alarm = case.failing
    yield Finding(
        CODE,
        f"`{first.name}` between layers" + (f" in `{first.module}`" if first.module else ""),
        "error" if alarm else "info",
        "activation-derivative" if alarm else "none",
        where=tuple(dict.fromkeys(op.module or op.name for op in hit)),
        source=first.source,
        evidence=(
            Evidence("RMS of its output", _rms(first), "", None),
            Evidence("number of such activations", len(hit), "", 0),
        ),
        advice=(
            "use ReLU, GELU or tanh between layers",
            "keep softmax for attention, gates and final probabilities",
        ),
        confidence=0.8 if alarm else 0.5,
    )


def _rms(op: Op) -> float:
    return op.output.rms if op.output else float("nan")


# Chinese for the texts above, by template.
ZH = {
    "`{op}` between layers in `{m}`": "`{m}` 在层与层之间使用了 `{op}`",
    "`{op}` between layers": "层与层之间使用了 `{op}`",
    "RMS of its output": "其输出的均方根",
    "number of such activations": "此类激活的个数",
    "use ReLU, GELU or tanh between layers": "层与层之间使用 ReLU、GELU 或 tanh",
    "keep softmax for attention, gates and final probabilities": (
        "softmax 只用于注意力、门控和最终概率"
    ),
}
