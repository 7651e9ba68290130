"""What an optimizer multiplies a gradient with, and how much curvature its steps bear.

A step is `w <- w - rate * (momentum of S g)` with a diagonal S that changes slowly. On a
quadratic with Hessian H it is stable while `rate * lambda_max(S^1/2 H S^1/2)` stays below a limit
that momentum alone decides (Cohen et al., 2021, for momentum; 2022, for adaptive methods, where
`P = S^-1`). Weight decay that is part of the gradient adds to H.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Metric:
    """How an optimizer measures steps.

    Attributes:
        parameters: Trainable tensors that it moves.
        scales: Diagonal of S for each, as a share of the largest rate; a number or a tensor.
        decay: Weight decay for each that enters the gradient.
        limit: Product of rate and curvature up to which steps are stable.
        rate: Largest rate of the groups.
    """

    parameters: list[Tensor]
    scales: list[Any]
    decay: list[float]
    limit: float
    rate: float


Scale = Callable[[Tensor, dict[str, Any], dict[str, Any]], "Tensor | float | None"]


def metric(optimizer: torch.optim.Optimizer) -> Metric | None:
    """The metric of an optimizer as it stands.

    Returns:
        None where it is not known: another class than SGD, Adam, AdamW, RMSprop and Adagrad,
        one that ascends, complex parameters, or groups that differ in momentum.
    """
    name = type(optimizer).__name__
    if name not in _SCALES or type(optimizer) is not getattr(torch.optim, name, None):
        return None
    rows = list(_rows(optimizer))
    if not rows or any(p.is_complex() or not p.is_floating_point() for p, _ in rows):
        return None
    groups = [group for _, group in rows]
    limits = {_limit(name, group) for group in groups}
    if len(limits) > 1 or any(group.get("maximize") for group in groups):
        return None
    rate = max(float(group["lr"]) for group in groups)
    parameters, scales, decay = [], [], []
    for parameter, group in rows:
        scale = _SCALES[name](parameter, group, optimizer.state.get(parameter, {}))
        if scale is None:
            continue  # never moved yet, so that nothing is known of its scale
        share = float(group["lr"]) / rate if rate > 0 else 1.0
        parameters.append(parameter)
        scales.append(scale * share)
        decay.append(_decay(name, group))
    if not parameters:
        return None
    return Metric(parameters, scales, decay, limits.pop(), rate)


def _rows(optimizer: torch.optim.Optimizer) -> Iterator[tuple[Tensor, dict[str, Any]]]:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.requires_grad:
                yield parameter, group


def _limit(name: str, group: dict[str, Any]) -> float:
    """Largest stable rate times curvature of a quadratic."""
    if name in ("Adam", "AdamW"):
        beta = float(group["betas"][0])
        return (2 + 2 * beta) / (1 - beta)
    momentum = float(group.get("momentum") or 0.0)
    if name == "SGD" and group.get("nesterov"):
        # x2 - (1+b)(1-rl) x + b(1-rl) has a root at -1 (Cohen et al., 2021, appendix B).
        return (2 + 2 * momentum) / (1 + 2 * momentum)
    damping = float(group.get("dampening") or 0.0) if momentum else 0.0
    return (2 + 2 * momentum) / (1 - damping) if damping < 1 else math.inf


def _decay(name: str, group: dict[str, Any]) -> float:
    decoupled = name == "AdamW" or bool(group.get("decoupled_weight_decay"))
    return 0.0 if decoupled else float(group.get("weight_decay") or 0.0)


def _adam(_: Tensor, group: dict[str, Any], state: dict[str, Any]) -> Tensor | None:
    if "exp_avg_sq" not in state:
        return None
    first, second = (float(beta) for beta in group["betas"])
    step = float(state["step"])
    square = state["max_exp_avg_sq"] if group.get("amsgrad") else state["exp_avg_sq"]
    root = (square / (1 - second**step)).sqrt().add_(float(group["eps"]))
    # The first moment of the first steps is divided by less than 1.
    return 1 / (root * (1 - first**step))


def _rmsprop(_: Tensor, group: dict[str, Any], state: dict[str, Any]) -> Tensor | None:
    if "square_avg" not in state:
        return None
    square = state["square_avg"]
    if group.get("centered"):
        square = (square - state["grad_avg"].square()).clamp_min(0)
    return 1 / square.sqrt().add_(float(group["eps"]))


def _adagrad(_: Tensor, group: dict[str, Any], state: dict[str, Any]) -> Tensor | None:
    if "sum" not in state or not float(state["step"]):
        return None
    slower = 1 + (float(state["step"]) - 1) * float(group.get("lr_decay") or 0.0)
    return 1 / (state["sum"].sqrt().add_(float(group["eps"])) * slower)


_SCALES: dict[str, Scale] = {
    "SGD": lambda *_: 1.0,
    "Adam": _adam,
    "AdamW": _adam,
    "RMSprop": _rmsprop,
    "Adagrad": _adagrad,
}
