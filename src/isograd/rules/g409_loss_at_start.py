"""G409: the loss starts far above that of a guess.

What it checks:
    Cross-entropy at the start against ln(classes), what a net that knows nothing scores.

Why it matters:
    A loss several times higher means confident answers before anything was learnt: logits of a
    scale that the first steps are spent on shrinking.

When it is wrong:
    A trained net on other labels starts high as well, and comes down by itself: where a short
    training ends below what a guess scores, this only explains.

What to do:
    Initialise the output layer (or the tied embedding) smaller.

References:
    Karpathy (2019), "verify loss @ init".
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.records.training import end_of
from isograd.rules.case import Case

CODE = "G409"
EXPLAINS = ("G402",)
REQUIRES: tuple[str, ...] = ()

# A net whose logits have a standard deviation of 1 starts at ln(classes) + 1/2.
TIMES = 4.0
# Logits of this size are ten standard deviations of a He-initialised output layer's.
LOGITS = 10.0
# Inputs ten times unit scale make logits of that size by themselves.
RAW = 10.0


def check(case: Case) -> Iterator[Finding]:
    """One finding for the first cross-entropy that starts that high."""
    for call in case.snapshot.losses:
        if call.name != "cross_entropy" or not call.integer_target or len(call.input_shape) < 2:
            continue
        guess = math.log(max(2, call.input_shape[1]))
        op = case.snapshot.ops[call.op]
        loss = op.output.mean if op.output is not None and op.output.shape == () else math.nan
        if not loss > TIMES * guess or call.prediction.std < LOGITS:
            continue
        # The first steps were spent on shrinking the logits, and that is over.
        over = case.training is not None and end_of(case.training.loss) < guess
        raw = max(
            (op.inputs.rms for op in case.snapshot.ops if op.inputs and not op.sources), default=0.0
        )
        yield Finding(
            CODE,
            f"the loss starts at {loss:.3g}; a guess scores ln({call.input_shape[1]}) = "
            f"{guess:.2f}",
            "info" if over else "warning",
            "none" if over else "input-scale" if raw > RAW else "loss-head",
            where=(call.name,),
            source=call.source,
            evidence=(
                Evidence("cross-entropy at the start", loss, "", TIMES * guess),
                Evidence("RMS of the inputs", raw, "", RAW),
                Evidence("standard deviation of the logits", call.prediction.std, "", LOGITS),
            ),
            advice=("scale the inputs to zero mean and unit variance",)
            if raw > RAW
            else ("initialise the output layer (or a tied embedding) smaller",),
            confidence=0.7,
        )
        return


# Chinese for the texts above, by template.
ZH = {
    "the loss starts at {x}; a guess scores ln({n}) = {y}": (
        "损失从 {x} 开始；瞎猜的损失是 ln({n}) = {y}"
    ),
    "cross-entropy at the start": "开始时的交叉熵",
    "RMS of the inputs": "输入的均方根",
    "scale the inputs to zero mean and unit variance": "把输入标准化为零均值、单位方差",
    "standard deviation of the logits": "logits 的标准差",
    "initialise the output layer (or a tied embedding) smaller": (
        "把输出层（或共享的嵌入）初始化得更小"
    ),
}
