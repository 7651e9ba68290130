"""G503: a `detach` or a draw inside the model keeps it from learning, shown by replay.

What it checks:
    Where a short training fails and the forward pass detaches something, the same training with
    `detach` and `.data` doing nothing while the model runs, and with draws of distributions
    (`sample`, `torch.normal`) reparametrised. If that one learns, the cut is the
    cause, even if every parameter still gets some gradient by another way.

Why it matters:
    A cut in one of several paths leaves gradients that look alive and point elsewhere.

When it is wrong:
    A stop-gradient by design (targets, codes, momentum encoders) serves a net that learns. Between
    players of a game (one loss function, drawn to different constants) it is never an alarm.

What to do:
    Remove the call at the line named.

References:
    The autograd notes of PyTorch on `detach`; Kingma and Welling (2014) on reparametrised draws.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.rules import proof
from isograd.rules.case import Case
from isograd.rules.g501_no_gradient import mirrors

CODE = "G503"
EXPLAINS = ("G108", "G201", "G303", "G402", "G408")
REQUIRES = ("training",)

# A layer that runs this often in one forward pass is in a loop.
LOOPS = 4
_CALLS = ("detach", "detach_", "data", "sample", "normal")
_DRAWS = ("sample", "normal")


def check(case: Case) -> Iterator[Finding]:
    """One finding if the training learns without the cut."""
    replay = proof.proved(case, "detach") or proof.released(case, "detach")
    cuts = [cut for cut in case.snapshot.cuts if cut.split(" ")[0] in _CALLS]
    if not cuts or not case.failing or case.game or mirrors(case):
        return
    if case.learns_later and not case.supervised:
        return  # without targets of its own, a loss can fall because a cut is missing
    if replay is None:
        if case.blind and not case.learns_later and _repeats(case):
            yield _in_loop(cuts)
        return
    drawn = next((cut for cut in cuts if cut.split(" ")[0] in _DRAWS), cuts[0])
    name, _, source = drawn.partition(" at ")
    yield Finding(
        CODE,
        f"`{name}` inside the model cuts a path that is needed: without it the loss ends at "
        f"{replay.end():.3g}",
        "error",
        "graph-cut",
        source=None if source == "None" else source,
        evidence=(
            *proof.evidence(case, replay),
            Evidence("calls that detach in the forward pass", len(cuts), "", 0),
        ),
        advice=(
            "draw with `rsample`, or as `mean + std * torch.randn_like(std)`"
            if name in _DRAWS
            else f"remove the `{name}`, or detach what is only logged",
        ),
        confidence=0.85,
    )


def _repeats(case: Case) -> bool:
    """True if a layer of the model runs again and again, as over time steps."""
    calls = Counter(op.module for op in case.snapshot.ops if op.kind in ("weight", "recurrence"))
    return any(count >= LOOPS for module, count in calls.items() if module)


def _in_loop(cuts: list[str]) -> Finding:
    name, _, source = cuts[0].partition(" at ")
    return Finding(
        CODE,
        f"nothing is learnt from the inputs, and `{name}` cuts a path between the steps of a loop",
        "error",
        "graph-cut",
        source=None if source == "None" else source,
        evidence=(Evidence("calls that detach in the forward pass", len(cuts), "", 0),),
        advice=(f"remove the `{name}`, or use it once in many steps",),
        confidence=0.6,
    )


# Chinese for the texts above, by template.
ZH = {
    **proof.ZH,
    "`{name}` inside the model cuts a path that is needed: without it the loss ends at {a}": (
        "模型内部的 `{name}` 切断了需要的通路：去掉它之后损失降到 {a}"
    ),
    "nothing is learnt from the inputs, and `{name}` cuts a path between the steps of a loop": (
        "没有从输入中学到任何东西，而 `{name}` 切断了循环各步之间的通路"
    ),
    "remove the `{name}`, or use it once in many steps": "去掉 `{name}`，或隔许多步才用一次",
    "draw with `rsample`, or as `mean + std * torch.randn_like(std)`": (
        "用 `rsample` 采样，或写成 `mean + std * torch.randn_like(std)`"
    ),
    "calls that detach in the forward pass": "前向计算中切断计算图的调用数",
    "remove the `{name}`, or detach what is only logged": "去掉 `{name}`，或只对用于记录的量使用它",
}
