"""G302: the optimizer does not train the model.

What it checks:
    Whether the optimizer holds the model's trainable parameters, and whether it descends. A
    parameter that it does not hold while it holds others that are not the model's was replaced
    after the optimizer was built. A rate of 0 at every step. An ascending group is named where the
    loss rises under it.

Why it matters:
    Gradients are computed and thrown away; the layer stays as it was initialised.

When it is wrong:
    Training only a head, with the rest left out of the optimizer on purpose: without foreign
    parameters this is an explanation, not an alarm. Two optimizers that share a model.

What to do:
    Build the optimizer after the last change to the model, or call `add_param_group`.

References:
    The notes of PyTorch on constructing optimizers.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from isograd.records import Evidence, Finding, OptimizerFacts, Training
from isograd.rules.case import SHORT, Case, span

CODE = "G302"
EXPLAINS = ("G402",)
REQUIRES = ("training",)


def check(case: Case) -> Iterator[Finding]:
    """One finding for lost parameters, one for ascent."""
    training = case.training
    if training is None or training.optimizer is None:
        return
    facts = training.optimizer
    if facts.not_owned:
        yield _lost(case, facts)
    if facts.unregistered:
        yield _unregistered(case, facts)
    still = [name for name in facts.frozen_rate if not any(training.parameters[name].update)]
    if still and any(any(track.update) for track in training.parameters.values()):
        yield Finding(
            CODE,
            f"learning rate 0 for {span(still)}",
            "warning",
            "learning-rate",
            where=tuple(still),
            evidence=(Evidence("parameters at rate 0", len(still), "", 0),),
            advice=("set the rate of their group, or freeze them with `requires_grad_(False)`",),
            confidence=0.9,
        )
    if len(training.loss) >= SHORT and not any(training.learning_rate) and not training.scheduled:
        yield _stopped(training)
    if facts.maximize and _rises(training):
        yield Finding(
            CODE,
            f"{facts.name} ascends: maximize=True, and the loss rises",
            "error",
            "optimizer-state",
            evidence=(Evidence("loss at the end / at the start", _ratio(training), "", 1.0),),
            advice=("leave out `maximize=True`, or return the negative of what is maximised",),
            confidence=0.95,
        )


def _stopped(training: Training) -> Finding:
    return Finding(
        CODE,
        f"the learning rate is 0 at each of {len(training.loss)} steps",
        "error",
        "learning-rate",
        evidence=(Evidence("learning rate", 0.0),),
        advice=("look at what sets the rate in the loop: a schedule whose factor is 0",),
        confidence=0.95,
    )


def _unregistered(case: Case, facts: OptimizerFacts) -> Finding:
    names = list(facts.unregistered)
    # A fixed net that is hidden on purpose: no gradient reaches it, and the rest learns.
    hidden = not case.snapshot.strange and case.training is not None and not case.poor
    return Finding(
        CODE,
        f"{facts.name} cannot hold {span(names)}: they hang on the model and are not its "
        "parameters",
        "info" if hidden else "error",
        "none" if hidden else "optimizer-state",
        where=facts.unregistered,
        evidence=(Evidence("trainable tensors outside of `parameters()`", len(names), "", 0),),
        advice=(
            "keep layers in `nn.ModuleList` or `nn.ModuleDict`, tensors in `nn.Parameter`",
            "build the optimizer after that",
        ),
        confidence=0.6 if hidden else 0.9,
    )


def _lost(case: Case, facts: OptimizerFacts) -> Finding:
    total = len(case.snapshot.parameters)
    parameters = case.snapshot.parameters
    # A part that is left out while the rest fails to learn without it was forgotten.
    idle = [n for n in facts.not_owned if n in parameters and parameters[n].grad_norm > 0]
    forgotten = case.failing and not case.learns_later and 2 * len(idle) > len(facts.not_owned)
    # In a game, the opponent's optimizer steps in the same loop.
    forgotten = forgotten and not (case.training and case.training.others)
    replaced = facts.foreign > 0 or forgotten
    why = (
        "it holds others that are not the model's" if facts.foreign else "it was given others only"
    )
    return Finding(
        CODE,
        f"{facts.name} does not hold {span(list(facts.not_owned))}: {why}",
        "error" if replaced else "info",
        "optimizer-state" if replaced else "none",
        where=facts.not_owned,
        evidence=(
            Evidence("trainable parameters it does not hold", len(facts.not_owned), f"of {total}"),
            Evidence("parameters it holds that are not the model's", facts.foreign, "", 0),
        ),
        advice=(
            ("build the optimizer after the layer was replaced, or use `add_param_group`",)
            if replaced
            else ("nothing to do if only a part is meant to train; else hand them over",)
        ),
        confidence=0.95 if replaced else 0.6,
    )


def _ratio(training: Training) -> float:
    part = max(1, len(training.loss) // 5)
    start = median(training.loss[:part])
    return median(training.loss[-part:]) / start if start else float("inf")


def _rises(training: Training) -> bool:
    return len(training.loss) > 1 and not _ratio(training) < 1


# Chinese for the texts above, by template.
ZH = {
    "{name} cannot hold {names}: they hang on the model and are not its parameters": (
        "{name} 无法持有 {names}：它们挂在模型上，却不是模型的参数"
    ),
    "trainable tensors outside of `parameters()`": "`parameters()` 之外的可训练张量",
    "keep layers in `nn.ModuleList` or `nn.ModuleDict`, tensors in `nn.Parameter`": (
        "把层放进 `nn.ModuleList` 或 `nn.ModuleDict`，张量用 `nn.Parameter`"
    ),
    "build the optimizer after that": "之后再构建优化器",
    "{name} does not hold {names}: it holds others that are not the model's": (
        "{name} 不包含 {names}：它持有的是不属于该模型的参数"
    ),
    "{name} does not hold {names}: it was given others only": (
        "{name} 不包含 {names}：只给了它其他参数"
    ),
    "{name} ascends: maximize=True, and the loss rises": "{name} 在上升：maximize=True，且损失变大",
    "the learning rate is 0 at each of {n} steps": "{n} 步中每一步的学习率都是 0",
    "learning rate": "学习率",
    "look at what sets the rate in the loop: a schedule whose factor is 0": (
        "检查循环中设置学习率之处：某个调度的系数为 0"
    ),
    "learning rate 0 for {names}": "{names} 的学习率为 0",
    "parameters at rate 0": "学习率为 0 的参数个数",
    "set the rate of their group, or freeze them with `requires_grad_(False)`": (
        "设置其参数组的学习率，或用 `requires_grad_(False)` 冻结"
    ),
    "trainable parameters it does not hold": "它未持有的可训练参数",
    "parameters it holds that are not the model's": "它持有的不属于模型的参数",
    "leave out `maximize=True`, or return the negative of what is maximised": (
        "去掉 `maximize=True`，或返回待最大化量的负值"
    ),
    "build the optimizer after the layer was replaced, or use `add_param_group`": (
        "在替换层之后再构建优化器，或使用 `add_param_group`"
    ),
    "nothing to do if only a part is meant to train; else hand them over": (
        "若只想训练一部分则无需处理；否则请把它们交给优化器"
    ),
}
