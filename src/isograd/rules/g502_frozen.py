"""G502: frozen parameters keep the net from learning, shown by replay.

What it checks:
    Where a short training fails and parameters are frozen, or weights are buffers, the same
    training with them trained. If that one learns, the freeze is the cause.

Why it matters:
    A backbone that was frozen before it was loaded stays random.

When it is wrong:
    A frozen part that is meant to rest while the rest learns: then the training does not fail.

What to do:
    `requires_grad_(True)` on the parameters named, or load the weights that were meant to rest.

References:
    The autograd notes of PyTorch on `requires_grad`.
"""

from __future__ import annotations

from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.records.training import PLAIN, Replay
from isograd.rules import proof
from isograd.rules.case import Case, span

CODE = "G502"
EXPLAINS = ("G303", "G402")
REQUIRES = ("training",)

# Share of the loss that thawing must take off where the frozen weights are a fresh draw.
UNTRAINED = 0.15


def check(case: Case) -> Iterator[Finding]:
    """One finding if the training learns with everything thawed, or freezes things itself."""
    frozen_inside = _rests(case)
    if frozen_inside and case.poor:
        yield _in_loop(case, frozen_inside)
        return
    replay = proof.proved(case, "frozen") or proof.released(case, "frozen") or _random(case)
    # Nobody freezes a tensor by not making it a parameter.
    plain = replay is not None and PLAIN in replay.detail
    frozen = [n for n, p in case.snapshot.parameters.items() if not p.requires_grad]
    # Buffers that look like drawn weights are thawed with them.
    frozen += [n for n in (replay.detail if replay else "").split(", ") if n and n not in frozen]
    if replay is None or not frozen or not (case.failing or plain or _random(case)):
        return
    yield Finding(
        CODE,
        f"frozen by mistake? with {span(frozen)} trained the loss ends at {replay.end():.3g}",
        "error",
        "frozen",
        where=tuple(frozen),
        evidence=(
            *proof.evidence(case, replay),
            Evidence("frozen parameters", len(frozen), f"of {len(case.snapshot.parameters)}"),
        ),
        advice=(
            "`requires_grad_(True)` on them, and hand them to the optimizer",
            "or load the trained weights that were meant to rest",
        ),
        confidence=0.85,
    )


def _in_loop(case: Case, names: tuple[str, ...]) -> Finding:
    return Finding(
        CODE,
        f"{span(list(names))} are trainable at the start and frozen by the loop",
        "error",
        "frozen",
        where=names,
        evidence=(
            Evidence(
                "parameters whose requires_grad went off",
                len(names),
                f"of {len(case.snapshot.parameters)}",
            ),
        ),
        advice=("look for `requires_grad_(False)` inside of the loop, the step or `forward`",),
        confidence=0.8,
    )


def _rests(case: Case) -> tuple[str, ...]:
    """Parameters that the loop froze, and that did not move in the second half of the training.

    Loops that train parts in turn leave one frozen at their end.
    """
    training = case.training
    if training is None:
        return ()
    tracks = training.parameters
    late = {n: t.update[len(t.update) // 2 :] for n, t in tracks.items() if n in training.frozen}
    return tuple(n for n in training.frozen if not any(u > 0 for u in late.get(n, ())))


def _random(case: Case) -> Replay | None:
    """The thawed replay if it does better and what is frozen was never trained."""
    drawn = [
        p.default_init for p in case.snapshot.parameters.values() if p.default_init is not None
    ]
    replay = case.replay("frozen")
    if replay is None or not case.poor or not drawn or 2 * sum(drawn) < len(drawn):
        return None
    return replay if case.gain(replay) > UNTRAINED else None


# Chinese for the texts above, by template.
ZH = {
    **proof.ZH,
    "{names} are trainable at the start and frozen by the loop": (
        "{names} 开始时可训练，却在循环中被冻结"
    ),
    "parameters whose requires_grad went off": "requires_grad 被关闭的参数",
    "look for `requires_grad_(False)` inside of the loop, the step or `forward`": (
        "检查循环、step 或 `forward` 内的 `requires_grad_(False)`"
    ),
    "frozen by mistake? with {names} trained the loss ends at {a}": (
        "误冻结？让 {names} 参与训练之后损失降到 {a}"
    ),
    "frozen parameters": "被冻结的参数",
    "`requires_grad_(True)` on them, and hand them to the optimizer": (
        "对它们调用 `requires_grad_(True)`，并交给优化器"
    ),
    "or load the trained weights that were meant to rest": "或加载本应保持不动的已训练权重",
}
