"""G104: an activation works in its flat part.

What it checks:
    For sigmoid, tanh and their hard variants inside the net: the share of entries whose
    derivative is below 5 % of its maximum. What drives them there: layers in front whose gain is
    far above 1, data far above unit scale, or neither. The output activation is left out: a trained
    classifier is meant to saturate there.

Why it matters:
    A saturated entry passes less than a twentieth of the gradient.

    A training that learns is run again from the same start with the layers in front scaled so that
    their outputs have an RMS of 1; if it then ends less than a fifth lower, or by less than a
    twentieth of the first loss, the flat part costs nothing and nothing is said. A second run
    that is thrown up by the rate proves nothing: then the first must beat a constant answer.

When it is wrong:
    Gates that have learnt to stay open or shut, where there is no training to ask.

What to do:
    Shrink the pre-activations: scale inputs to unit variance, initialise weights with variance
    1/fan_in, put normalisation in front.

References:
    Glorot and Bengio (2010); LeCun et al. (1998).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isograd.records import Evidence, Finding, Op
from isograd.records.finding import Cause
from isograd.records.training import FELL, beats, end_of
from isograd.rules import proof
from isograd.rules.case import Case, span
from isograd.rules.g201_time import exploding

CODE = "G104"
EXPLAINS = ("G101",)
REQUIRES: tuple[str, ...] = ()

# Half of the entries passing less than a twentieth: the layer's gain is below 0.75 of its
# healthy value whatever the rest does.
SATURATED = 0.5


# A layer initialised for its activation has a gain of about 1 (LeCun et al., 1998; Glorot and
# Bengio, 2010), He's 1.4; PyTorch's default 0.6.
GAIN = 3.0
# The replay that a training that learns is compared with.
REPLAY = "saturation"
# Data of unit scale; ten times that saturates whatever the weights are.
LARGE = 5.0


def check(case: Case) -> Iterator[Finding]:
    """One finding for all saturated layers."""
    hit = saturated(case)
    if not hit or _harmless(case):
        return
    replay = case.replay(REPLAY)
    shares = {op.module or op.name: op.units.saturated_fraction or 0.0 for op in hit if op.units}
    worst = max(hit, key=lambda op: (op.units.saturated_fraction or 0.0) if op.units else 0.0)
    rms = worst.inputs.rms if worst.inputs else float("nan")
    cause, gain = _cause(case, hit)
    yield Finding(
        CODE,
        f"saturated: {100 * max(shares.values()):.0f} % of `{worst.module or worst.name}` "
        f"({worst.name}) lies in the flat part ({span(list(shares))})",
        "error",
        cause,
        where=tuple(shares),
        source=worst.source,
        evidence=(
            *(
                Evidence(
                    f"saturated share of {name}",
                    share,
                    "",
                    SATURATED,
                    "entries whose derivative is below 5 % of its maximum",
                )
                for name, share in shares.items()
            ),
            Evidence("RMS of its input", rms, "", None, "pre-activation; about 1 is healthy"),
            *(
                (
                    Evidence(
                        "gain of the layer in front",
                        gain,
                        "",
                        GAIN,
                        "spread of its output / RMS of its input",
                    ),
                )
                if gain is not None
                else ()
            ),
            *(proof.evidence(case, replay) if replay is not None else ()),
        ),
        advice=(
            "scale the inputs to zero mean and unit variance",
            "initialise the weights with variance 1/fan_in (`nn.init.xavier_normal_`)",
            "put LayerNorm or BatchNorm in front of the activation",
        ),
        confidence=min(0.99, 0.6 + 0.4 * max(shares.values())),
    )


def saturated(case: Case) -> list[Op]:
    """Hidden activations of which most lies in the flat part."""
    return [
        op
        for op in case.hidden_activations()
        if op.units is not None
        and op.units.saturated_fraction is not None
        and op.units.saturated_fraction >= SATURATED
    ]


def _harmless(case: Case) -> bool:
    """True if the training learns, and hardly more where nothing is saturated at the start."""
    training = case.training
    tried = [r for r in training.replays if r.change == REPLAY] if training else []
    if training is None or case.failing or not tried:
        return False
    replay = case.replay(REPLAY)
    if replay is None or case.gain(replay) < proof.SHARE:
        # Units that pass the gradient again can make the rate too large: such a replay proves
        # nothing, and a net that is no better than a constant answer has no excuse.
        thrown = not tried[0].end() < tried[0].loss[0]
        return not thrown or beats(end_of(training.loss), case.snapshot.constant_loss)
    # Of two losses near 0 one is easily twice the other.
    return end_of(training.loss) - replay.end() < FELL * abs(case.start)


def _cause(case: Case, hit: list[Op]) -> tuple[Cause, float | None]:
    """What drives the activations flat: the layers in front, the data, or neither.

    Returns:
        The cause, and the gain of the layer in front of the first one.
    """
    gains = [(layer, _gain(layer)) for op in hit if (layer := _in_front(case, op)) is not None]
    known = [gain for _, gain in gains if gain is not None]
    if not known:
        return "activation-derivative", None
    first, gain = gains[0]
    if first.inputs is not None and not first.sources and first.inputs.rms > LARGE:
        return "input-scale", gain
    large = [g for g in known if g > GAIN]
    if not large and exploding(case.snapshot):
        return "recurrence", gain  # neither layer nor function: what a loop's state has become
    return ("weight-scale" if 2 * len(large) > len(known) else "activation-derivative"), gain


def _in_front(case: Case, op: Op) -> Op | None:
    """The layer whose output an activation reads, through biases and norms or not."""
    stack, seen = list(op.sources), set[int]()
    while stack:
        at = stack.pop()
        if at in seen:
            continue
        seen.add(at)
        here = case.snapshot.ops[at]
        if here.kind == "weight":
            return here
        if here.kind in ("reshape", "other"):
            stack.extend(here.sources)
    return None


def _gain(layer: Op) -> float | None:
    if layer.inputs is None or layer.output is None or not layer.inputs.rms > 0:
        return None
    # About its mean: a bias that shuts a gate is no matter of the weights' scale.
    spread = math.sqrt(max(0.0, layer.output.rms**2 - layer.output.mean**2))
    return spread / layer.inputs.rms


# Chinese for the texts above, by template.
ZH = {
    **proof.ZH,
    "gain of the layer in front": "前面一层的增益",
    "spread of its output / RMS of its input": "输出标准差 / 输入均方根",
    "saturated: {share} % of `{a}` ({op}) lies in the flat part ({where})": (
        "饱和：`{a}`（{op}）中 {share} % 的取值落在平坦区（{where}）"
    ),
    "saturated share of {name}": "{name} 的饱和比例",
    "entries whose derivative is below 5 % of its maximum": "导数低于最大值 5 % 的元素",
    "RMS of its input": "其输入的均方根",
    "pre-activation; about 1 is healthy": "激活前的值；约为 1 属正常",
    "pre-activation": "激活前的值",
    "scale the inputs to zero mean and unit variance": "把输入标准化为零均值、单位方差",
    "initialise the weights with variance 1/fan_in (`nn.init.xavier_normal_`)": (
        "权重方差取 1/fan_in 初始化（`nn.init.xavier_normal_`）"
    ),
    "put LayerNorm or BatchNorm in front of the activation": (
        "在激活函数之前加 LayerNorm 或 BatchNorm"
    ),
}
