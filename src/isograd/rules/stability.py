"""The sharpness beside a finding that blames the learning rate."""

from __future__ import annotations

import math
from dataclasses import replace

from isograd.records import Evidence, Finding
from isograd.records.sharpness import Sharpness
from isograd.rules.case import Case

_RATE = "learning rate"


def with_sharpness(case: Case, finding: Finding) -> Finding:
    """A finding with the curvature that was measured, and the rate that it allows.

    Args:
        case: The measurement.
        finding: Left as it is unless it is an alarm that blames the learning rate.
    """
    sharp = case.training.sharpness if case.training is not None else None
    if sharp is None or not finding.alarm or finding.cause != "learning-rate":
        return finding
    stable = sharp.stable_rate
    if not math.isfinite(stable):
        return finding
    above = sharp.rate > stable
    rows = [
        replace(row, threshold=stable) if row.name == _RATE and above else row
        for row in finding.evidence
    ]
    limit = sharp.limit / sharp.rate if sharp.rate > 0 else None
    rows += [
        Evidence("sharpness", sharp.value, "", limit, _measured(sharp)),
        Evidence("largest stable learning rate", stable, "", None, _formula(sharp)),
    ]
    advice = finding.advice
    if above:
        advice = (
            *advice,
            f"sharpness {sharp.value:.3g}: {sharp.optimizer} is stable up to a rate of "
            f"{stable:.2g}, and yours is {sharp.rate:.2g}",
        )
    return replace(finding, evidence=tuple(rows), advice=advice)


def _measured(sharp: Sharpness) -> str:
    where = "at the start"
    if sharp.steps:
        where = f"after {sharp.steps} steps at {sharp.factor:g} times the rate"
    what = "Hessian of one batch"
    if sharp.optimizer != "SGD":
        what = "Hessian of one batch over the optimizer's own scale"
    return f"largest eigenvalue of the {what}, {where}"


def _formula(sharp: Sharpness) -> str:
    return f"{sharp.limit:.3g} / sharpness, by its momentum"


# Chinese for the texts above, by template.
ZH = {
    "sharpness": "锐度",
    "largest stable learning rate": "最大的稳定学习率",
    "{limit} / sharpness, by its momentum": "{limit} / 锐度，由动量决定",
    "largest eigenvalue of the Hessian of one batch, at the start": (
        "起点处一个批次的 Hessian 的最大特征值"
    ),
    "largest eigenvalue of the Hessian of one batch, after {n} steps at {f} times the rate": (
        "以 {f} 倍学习率训练 {n} 步后，一个批次的 Hessian 的最大特征值"
    ),
    "largest eigenvalue of the Hessian of one batch over the optimizer's own scale, at the start": (
        "起点处一个批次的 Hessian 除以优化器自身尺度后的最大特征值"
    ),
    "largest eigenvalue of the Hessian of one batch over the optimizer's own scale, after {n} "
    "steps at {f} times the rate": (
        "以 {f} 倍学习率训练 {n} 步后，一个批次的 Hessian 除以优化器自身尺度后的最大特征值"
    ),
    "sharpness {s}: {optimizer} is stable up to a rate of {a}, and yours is {b}": (
        "锐度为 {s}：{optimizer} 在学习率不超过 {a} 时稳定，而现在是 {b}"
    ),
}
