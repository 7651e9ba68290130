"""G704: rewards without a baseline drown what they say.

What it checks:
    Where a step draws answers from the net and weights their log-likelihood (a policy gradient),
    the gradient that arrives there: minus the reward of each answer. Its mean over its standard
    deviation, against the root of the number of answers; and whether the rewards have risen after
    the short training.

Why it matters:
    What all rewards have in common has no expected effect and reinforces whatever was drawn. Its
    scatter over n answers is mean / sqrt(n), beside a signal of at most one standard deviation.

When it is wrong:
    Many small steps average it out: then rewards rise, and nothing is said. Answers that were
    drawn outside of the step are not known as such and not judged.

What to do:
    Subtract a baseline: the batch's mean reward, or a learnt value.

References:
    Williams (1992); Greensmith et al. (2004) on baselines.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from isograd.records import Evidence, Finding, Op
from isograd.rules.case import SHORT, Case

CODE = "G704"
EXPLAINS = ("G301", "G303", "G402", "G503")
REQUIRES = ("training",)

# Rewards of 0 and 1 that are earned at half of the tries give 1, at nine of ten 3.
LEAN = 8.0
# Standard deviations by which rewards rise where a policy learns, four standard errors of 64.
RISEN = 0.5
# A policy whose answers are certain has nothing to learn from a draw.
_CERTAIN = 0.1


def check(case: Case) -> Iterator[Finding]:
    """One finding if the common part of the rewards outweighs what tells them apart."""
    if case.training is None or len(case.training.loss) < SHORT:
        return
    end = case.training.end
    later = _rewards(end.ops) if end is not None else {}
    for place, start in _rewards(case.snapshot.ops).items():
        limit = max(LEAN, math.sqrt(start.count))
        if start.certain or not start.lean >= limit:
            continue
        now = later.get(place)
        if now is not None and start.mean - now.mean > RISEN * start.std:
            continue  # the gradient is minus the reward
        name, source = place
        yield Finding(
            CODE,
            f"rewards without a baseline: their mean is {start.lean:.3g} times their standard "
            "deviation",
            "error",
            "noise",
            where=(name,),
            source=source,
            evidence=(
                Evidence("mean reward / standard deviation", start.lean, "", limit),
                Evidence("answers drawn in a step", start.count),
            ),
            advice=(
                "subtract a baseline from the rewards: their mean, or a learnt value",
                "or draw more answers in each step",
            ),
            confidence=0.8,
        )
        return


@dataclass(frozen=True)
class _Rewards:
    """Gradients at the log-likelihoods that one line makes, over all of its calls."""

    mean: float
    std: float
    count: int
    certain: bool

    @property
    def lean(self) -> float:
        """Mean over standard deviation; 0 if rewards are all alike."""
        told = 0 < self.std < math.inf
        return abs(self.mean) / self.std if told else 0.0


def _rewards(ops: tuple[Op, ...]) -> dict[tuple[str, str | None], _Rewards]:
    calls: dict[tuple[str, str | None], list[Op]] = {}
    for op in ops:
        if op.pull is not None and op.output is not None and op.on_path:
            calls.setdefault((op.name, op.source), []).append(op)
    return {place: _pooled(made) for place, made in calls.items()}


def _pooled(ops: list[Op]) -> _Rewards:
    sizes = [math.prod(op.output.shape) if op.output else 0 for op in ops]
    pulls = [op.pull or (0.0, 0.0) for op in ops]
    count = max(1, sum(sizes))
    mean = sum(n * m for n, (m, _) in zip(sizes, pulls, strict=True)) / count
    spread = sum(n * (s**2 + (m - mean) ** 2) for n, (m, s) in zip(sizes, pulls, strict=True))
    likelihood = sum(n * op.output.mean for n, op in zip(sizes, ops, strict=True) if op.output)
    return _Rewards(mean, math.sqrt(spread / count), count, abs(likelihood) / count < _CERTAIN)


# Chinese for the texts above, by template.
ZH = {
    "rewards without a baseline: their mean is {x} times their standard deviation": (
        "奖励没有基线：其均值是标准差的 {x} 倍"
    ),
    "mean reward / standard deviation": "奖励均值 / 标准差",
    "answers drawn in a step": "每步抽取的回答数",
    "subtract a baseline from the rewards: their mean, or a learnt value": (
        "从奖励中减去基线：其均值，或学得的价值"
    ),
    "or draw more answers in each step": "或每步抽取更多回答",
}
