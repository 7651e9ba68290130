"""G501: parameters that the gradient cannot reach.

What it checks:
    Parameters without a gradient, and the line where their path to the loss breaks.

Why it matters:
    They never learn, and no error says so.

When it is wrong:
    Frozen layers, parts that this batch does not use (an expert without tokens, a pooler that
    the task ignores): they are listed as explanations, not alarms.

What to do:
    Remove the call that cuts the path (`detach`, `.data`, `no_grad`, `argmax`), or freeze the
    parameters openly if it is meant.

References:
    The autograd notes of PyTorch on `detach` and `no_grad`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from isograd.records import Evidence, Finding
from isograd.records.finding import Cause
from isograd.rules.case import Case, span

CODE = "G501"
EXPLAINS = ("G301", "G402", "G408")
REQUIRES: tuple[str, ...] = ()

# A pooler that the task ignores is a few per cent of a model.
THROWN = 1 / 3
# A copy that follows its original by a moving average stays near it (He et al., 2020, MoCo);
# independent draws of n weights have a cosine of 1/sqrt(n).
ALIKE = 0.5

_CAUSES: dict[str, Cause] = {
    "detached": "graph-cut",
    "no-grad": "graph-cut",
    "shape only": "graph-cut",
    "in-place": "graph-cut",
    "reentrant checkpoint": "graph-cut",
    "non-differentiable": "non-differentiable",
}


def check(case: Case) -> Iterator[Finding]:
    """One finding for each reason and place."""
    groups: dict[tuple[str, str, str | None], list[str]] = defaultdict(list)
    parameters = case.snapshot.parameters
    if all(s.missing is not None for s in parameters.values()) and not _reached_later(
        case, list(parameters)
    ):
        yield _none_reached(case)
        return
    twins = _twins(case)
    for name, stats in parameters.items():
        if stats.missing is not None:
            missing = stats.missing
            # One checkpoint after another is one fault, at the first line.
            place = missing.source if missing.reason != "reentrant checkpoint" else ""
            groups[missing.reason, missing.detail, place].append(name)
    for (reason, detail, source), names in groups.items():
        # A net cut off as a whole that mirrors one that learns: a target, teacher or EMA net.
        mirrored = reason in ("no-grad", "detached") and set(names) <= twins
        mirrored = mirrored and not _read(case, names)
        elsewhere = _reached_later(case, names)
        resting = reason == "no-grad" and _not_owned(case, names)
        idle = not elsewhere and _idle(case, reason, names)
        alarm = (reason in _CAUSES and not (mirrored or elsewhere or resting)) or idle
        cause: Cause = (
            "graph-cut" if idle else _CAUSES.get(reason, "frozen" if reason == "frozen" else "none")
        )
        yield Finding(
            CODE,
            f"no gradient reaches {span(names)}: {detail}",
            "error" if alarm else "info",
            cause,
            where=tuple(names),
            source=source if source != "" else _first_source(case, names),
            evidence=(
                Evidence(
                    "parameters without gradient",
                    len(names),
                    f"of {len(parameters)}",
                    None,
                    reason,
                ),
            ),
            advice=_TWIN if mirrored else _ELSEWHERE if elsewhere else _ADVICE[reason],
            confidence=0.9 if alarm else 0.6,
        )


def _first_source(case: Case, names: list[str]) -> str | None:
    lost = (case.snapshot.parameters[name].missing for name in names)
    return next((m.source for m in lost if m is not None and m.source), None)


def _not_owned(case: Case, names: list[str]) -> bool:
    """True if the optimizer was not given them: they rest on purpose."""
    facts = case.training.optimizer if case.training else None
    return facts is not None and set(names) <= set(facts.not_owned)


def _none_reached(case: Case) -> Finding:
    parameters = case.snapshot.parameters
    missing = [stats.missing for stats in parameters.values() if stats.missing]
    frozen = all(m.reason == "frozen" for m in missing)
    used = [m for m in missing if m.reason not in ("unused", "frozen")]
    # A line says more than none.
    first = next((m for m in used if m.source), used[0] if used else missing[0])
    detail = "the step does not use the model it is given" if not used else first.detail
    if frozen:
        detail = "requires_grad is False for all of them"
    return Finding(
        CODE,
        f"no gradient reaches any parameter: {detail}",
        "error",
        "frozen" if frozen else _CAUSES.get(first.reason, "graph-cut"),
        where=tuple(parameters),
        source=first.source,
        evidence=(
            Evidence("parameters without gradient", len(parameters), f"of {len(parameters)}"),
        ),
        advice=_ALL_FROZEN
        if frozen
        else _ADVICE.get(first.reason, _NONE)
        if first.reason == "in-place"
        else _NONE,
        confidence=0.95,
    )


def _idle(case: Case, reason: str, names: list[str]) -> bool:
    """True for parameters that are made to be used and are not, in no step of a training.

    A third of all parameters, used for nothing or not called at all in a training that goes
    badly; or a parameter of a module that ran without it. One of a list of modules (an expert, a
    head of another task) may rest.
    """
    tracks = case.training.parameters if case.training else {}
    if not names or not all(name in tracks for name in names):
        return False
    if case.learns_later and reason != "unused":
        return False
    if reason == "not on the path":
        return len(names) > THROWN * len(case.snapshot.parameters)
    if reason != "unused" or not case.poor:
        return False
    if len(names) > THROWN * len(case.snapshot.parameters) and not any(map(_numbered, names)):
        return True
    if case.learns_later:
        return False
    ran = {op.module for op in case.snapshot.ops}
    inside = [n.rpartition(".")[0] for n in names]
    return all(
        owner in ran and _direct(case, name) for owner, name in zip(inside, names, strict=True)
    )


def _numbered(name: str) -> bool:
    """True for a member of a list of modules."""
    return any(part.isdecimal() for part in name.split(".")[:-2])


def _direct(case: Case, name: str) -> bool:
    """True if a sibling of a parameter, in the same module or below it, is used."""
    owner = name.rpartition(".")[0]
    prefix = f"{owner}." if owner else ""
    return any(
        other.startswith(prefix) and stats.missing is None
        for other, stats in case.snapshot.parameters.items()
    )


def _reached_later(case: Case, names: list[str]) -> bool:
    """True if the optimizer saw a gradient of each of them: another loss trains them."""
    tracks = case.training.parameters if case.training else {}
    return all(name in tracks and any(tracks[name].gradient) for name in names)


def mirrors(case: Case) -> bool:
    """True if all that a `detach` cuts off is a target, teacher or key net."""
    twins = _twins(case)
    lost = [
        name
        for name, stats in case.snapshot.parameters.items()
        if stats.missing is not None and stats.missing.reason == "detached"
    ]
    return bool(lost) and set(lost) <= twins and not _read(case, lost)


def _read(case: Case, names: list[str]) -> bool:
    """True if a trained layer reads what they make, or they never were a copy of a rival's.

    Samples that are each other's classes need both towers, unless one follows the other.
    """
    lost = [m for m in (case.snapshot.parameters[name].missing for name in names) if m is not None]
    strangers = [m for m in lost if m.alike is not None and abs(m.alike) < ALIKE]
    return any(m.feeds for m in lost) or (case.contrastive and 2 * len(strangers) > len(lost))


def _twins(case: Case) -> set[str]:
    """Parameters of submodules that get no gradient and have the shapes of one that does."""
    parameters = case.snapshot.parameters
    groups: dict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
    lost: dict[str, bool] = defaultdict(lambda: True)
    for name, stats in parameters.items():
        top, _, rest = name.partition(".")
        groups[top][rest] = stats.shape
        lost[top] = lost[top] and stats.missing is not None
    live = [own for top, own in groups.items() if not lost[top]]
    cut = {top for top, own in groups.items() if lost[top] and own in live}
    return {name for name in parameters if name.partition(".")[0] in cut}


_ALL_FROZEN = (
    "`requires_grad_(True)` on what is meant to be trained: a backbone was meant, or the model was "
    "loaded for inference",
)
_NONE = (
    "call the `model` that `step(model)` receives, not one from outside",
    "look for `detach`, `.data`, `.tolist()` or `torch.tensor(...)` on the way to the loss",
)
_ELSEWHERE = ("nothing to do: another loss of the same iteration reaches them",)
_TWIN = ("nothing to do for a target, teacher or EMA net; `requires_grad_(False)` says so openly",)
_ADVICE: dict[str, tuple[str, ...]] = {
    "frozen": ("nothing to do if the freeze is meant; else `requires_grad_(True)`",),
    "unused": ("nothing to do if this part is meant to rest on this batch; else call it",),
    "not on the path": ("nothing to do if its result is only logged; else use it in the loss",),
    "in-place": ("write out of place: `x = x * 2` for `x *= 2` or `x.mul_(2)`",),
    "shape only": ("hand on the tensor itself, not zeros of its shape",),
    "detached": ("remove the call that detaches, or freeze the parameters openly",),
    "no-grad": ("move the call out of torch.no_grad()",),
    "reentrant checkpoint": ("pass `use_reentrant=False` to torch.utils.checkpoint",),
    "non-differentiable": (
        "replace the op by one with a derivative (softmax for argmax, straight-through for round)",
    ),
}


# Chinese for the texts above, by template.
ZH = {
    "write out of place: `x = x * 2` for `x *= 2` or `x.mul_(2)`": (
        "不要原地写入：用 `x = x * 2` 代替 `x *= 2` 或 `x.mul_(2)`"
    ),
    "`requires_grad_(True)` on what is meant to be trained: a backbone was meant, or the model was "
    "loaded for inference": (
        "对要训练的部分调用 `requires_grad_(True)`：可能本想只冻结主干，或模型是为推理加载的"
    ),
    "nothing to do: another loss of the same iteration reaches them": (
        "无需处理：同一迭代中的另一个损失会到达它们"
    ),
    "no gradient reaches any parameter: {detail}": "没有任何参数得到梯度：{detail}",
    "the step does not use the model it is given": "step 没有使用传给它的模型",
    "call the `model` that `step(model)` receives, not one from outside": (
        "请调用 `step(model)` 收到的 `model`，而不是外部的另一个模型"
    ),
    "look for `detach`, `.data`, `.tolist()` or `torch.tensor(...)` on the way to the loss": (
        "检查通往损失的路上是否有 `detach`、`.data`、`.tolist()` 或 `torch.tensor(...)`"
    ),
    "nothing to do for a target, teacher or EMA net; `requires_grad_(False)` says so openly": (
        "若是目标网络、教师网络或 EMA 网络则无需处理；可用 `requires_grad_(False)` 明确说明"
    ),
    "no gradient reaches {names}: {detail}": "{names} 得不到梯度：{detail}",
    "parameters without gradient": "没有梯度的参数",
    "nothing to do if the freeze is meant; else `requires_grad_(True)`": (
        "若有意冻结则无需处理；否则 `requires_grad_(True)`"
    ),
    "nothing to do if this part is meant to rest on this batch; else call it": (
        "若这部分在本批中本就不用则无需处理；否则请在前向中调用它"
    ),
    "nothing to do if its result is only logged; else use it in the loss": (
        "若其结果只用于记录则无需处理；否则请让它进入损失"
    ),
    "remove the call that detaches, or freeze the parameters openly": (
        "去掉切断计算图的调用，或明确冻结这些参数"
    ),
    "move the call out of torch.no_grad()": "把该调用移出 torch.no_grad()",
    "pass `use_reentrant=False` to torch.utils.checkpoint": (
        "给 torch.utils.checkpoint 传入 `use_reentrant=False`"
    ),
    "replace the op by one with a derivative (softmax for argmax, straight-through for "
    "round)": "换成可导的算子（用 softmax 代替 argmax，round 用直通估计）",
}
