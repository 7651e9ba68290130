"""G506: a gradient arrives and is thrown away before the optimizer steps.

What it checks:
    Parameters whose gradient is there after the backward pass and zero or None at the step, at
    every step. The short training is replayed with these gradients kept. If that one learns, the
    loop is the cause.

Why it matters:
    A part of the net stays as it was drawn, and `requires_grad` says that it is trained.

When it is wrong:
    A layer that is held still for the first steps on purpose (Caron et al., 2021, cancel the
    gradients of the last layer): where the net learns meanwhile, nothing is said.

What to do:
    Look for `p.grad = None`, `p.grad.zero_()`, `zero_grad()` or a mask between `backward()` and
    `optimizer.step()`.

References:
    The autograd notes of PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.rules import proof
from isograd.rules.case import Case, span

CODE = "G506"
EXPLAINS = ("G303", "G402")
REQUIRES = ("training",)


def check(case: Case) -> Iterator[Finding]:
    """One finding if the training learns with the gradients that the loop throws away."""
    training = case.training
    replay = proof.proved(case, "gradients")
    if training is None or replay is None:
        return
    names = list(training.thrown)
    whole = len(names) == sum(p.missing is None for p in case.snapshot.parameters.values())
    yield Finding(
        CODE,
        f"the gradient of {span(names)} is gone when the optimizer steps: kept, the loss ends at "
        f"{replay.end():.3g}",
        "error",
        "optimizer-state" if whole else "frozen",
        where=tuple(names),
        evidence=(
            *proof.evidence(case, replay),
            Evidence(
                "parameters whose gradient is thrown away",
                len(names),
                f"of {len(case.snapshot.parameters)}",
                0,
            ),
        ),
        advice=("look for what clears or masks `.grad` between `backward()` and `step()`",),
        confidence=0.9,
    )


# Chinese for the texts above, by template.
ZH = {
    **proof.ZH,
    "the gradient of {names} is gone when the optimizer steps: kept, the loss ends at {a}": (
        "优化器更新时 {names} 的梯度已不在：保留之后损失降到 {a}"
    ),
    "parameters whose gradient is thrown away": "梯度被丢弃的参数",
    "look for what clears or masks `.grad` between `backward()` and `step()`": (
        "检查 `backward()` 与 `step()` 之间清除或屏蔽 `.grad` 之处"
    ),
}
