"""Runs every rule and puts causes before symptoms.

A rule is a module of this package whose name starts with a letter and three digits. It has
`CODE`, `EXPLAINS` (codes of its symptoms), `REQUIRES` (what a case must hold), a docstring that
is its documentation, `ZH` (its texts in Chinese) and `check(case)` that yields findings.

Codes are never reused: 1xx gain, 2xx time axis, 3xx optimisation, 4xx loss head and data,
5xx graph, 6xx numbers and precision, 7xx instability.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Protocol

from isograd.records import Diagnosis, Finding, History, Snapshot
from isograd.records.bad_step import BadStep
from isograd.records.training import Training, end_of
from isograd.rules import neutral, stability
from isograd.rules.case import Case
from isograd.rules.pages import in_chinese

_RULE_FILE = re.compile(r"[a-z]\d{3}_\w+")
_SEVERITIES = {"error": 0, "warning": 1, "info": 2}


class Rule(Protocol):
    """What a rule module offers."""

    CODE: str
    EXPLAINS: tuple[str, ...]
    REQUIRES: tuple[str, ...]
    ZH: dict[str, str]
    __doc__: str | None

    def check(self, case: Case) -> Iterator[Finding]:
        """Findings of this rule."""
        ...


@cache
def rules() -> tuple[Rule, ...]:
    """All rules, by code."""
    package = importlib.import_module("isograd.rules")
    names = sorted(m.name for m in pkgutil.iter_modules(package.__path__))
    found: list[Rule] = [
        importlib.import_module(f"isograd.rules.{name}")  # type: ignore[misc]
        for name in names
        if _RULE_FILE.fullmatch(name)
    ]
    return tuple(found)


def chinese() -> dict[str, str]:
    """Templates of all rules' texts with their Chinese."""
    shared = ZH | stability.ZH | neutral.ZH
    return shared | {english: text for rule in rules() for english, text in rule.ZH.items()}


def documentation(code: str, lang: str = "en") -> str:
    """Documentation of a rule.

    Args:
        code: Such as `G101`.
        lang: `en` or `zh`; English where there is no other.

    Raises:
        KeyError: If there is no such code; the message lists them.
    """
    for rule in rules():
        if rule.CODE == code.upper():
            english = (rule.__doc__ or "").strip()
            return (in_chinese(english) if lang == "zh" else None) or english
    raise KeyError(f"no rule {code!r}; rules: {', '.join(rule.CODE for rule in rules())}")


def diagnose(
    snapshot: Snapshot,
    training: Training | None = None,
    history: History | None = None,
    target: str = "",
    bad: BadStep | None = None,
) -> Diagnosis:
    """Judge a measurement.

    Args:
        snapshot: The measurement.
        training: A short training, if one was run.
        history: The same for the eye: speeds of layers over its steps.
        target: What was measured, for the title.
        bad: Where NaN or infinity began, if that was looked for.

    Returns:
        Findings with causes before symptoms, errors before warnings before explanations.
    """
    case = Case(snapshot, training, bad)
    found: list[Finding] = []
    skipped: list[str] = []
    for rule in rules():
        lacking = [name for name in rule.REQUIRES if not case.has(name)]
        if lacking:
            skipped.append(f"{rule.CODE}: needs {', '.join(lacking)}")
            continue
        found += (_proved(case, finding) for finding in rule.check(case))
    return Diagnosis(
        _ordered(found),
        tuple(skipped),
        snapshot,
        history,
        target=target,
        training=training,
        notes=_tried(case) if any(finding.alarm for finding in found) else _notes(case),
    )


def _proved(case: Case, finding: Finding) -> Finding:
    """A finding with what was measured beyond its rule to prove or to size its cause."""
    finding = stability.with_sharpness(case, finding)
    return replace(finding, evidence=finding.evidence + neutral.with_effects(case, finding))


def merged(again: Diagnosis, seen: Diagnosis) -> Diagnosis:
    """One diagnosis of a loop and of its start run again, which can be replayed.

    Args:
        again: Judgement of the start run again.
        seen: Judgement of the loop; what the other does not find is added.
    """
    codes = {finding.code for finding in again.findings}
    more = [finding for finding in seen.findings if finding.code not in codes]
    return replace(
        seen,
        findings=_ordered([*again.findings, *more]),
        not_checked=tuple(line for line in again.not_checked if line in seen.not_checked),
        notes=_said(again, seen),
    )


def _said(again: Diagnosis, seen: Diagnosis) -> tuple[str, ...]:
    """Notes of what was found; where nothing was, those on the training that was seen."""
    if any(finding.alarm for finding in again.findings):
        return again.notes
    return () if any(finding.alarm for finding in seen.findings) else seen.notes or again.notes


def _ordered(found: list[Finding]) -> tuple[Finding, ...]:
    """Causes before symptoms, errors before warnings before explanations."""
    symptoms: dict[str, int] = {}
    for rule in rules():
        steps = [finding.step for finding in found if finding.alarm and finding.code == rule.CODE]
        for code in rule.EXPLAINS if steps else ():
            symptoms[code] = min(steps[0], symptoms.get(code, steps[0]))
    return tuple(
        sorted(
            found,
            key=lambda f: (
                f.severity == "info",
                # What comes later in a training explains nothing that was there before.
                f.code in symptoms and symptoms[f.code] <= f.step,
                _SEVERITIES[f.severity],
            ),
        )
    )


def _tried(case: Case) -> tuple[str, ...]:
    """What else was considered: every replay with what is left of the symptom."""
    again = neutral.note(case)
    if case.training is None or all(r.change == "none" for r in case.training.replays):
        return again
    ends = ", ".join(
        f"{r.change}{f' x{r.factor:g}' if r.change == 'rate' else ''} {r.end():.3g}"
        for r in case.training.replays
        if r.change != "none"
    )
    left = end_of(case.training.loss)
    return (
        *again,
        f"replayed with one thing changed, loss at the end: {ends}; as it stands {left:.3g}",
    )


def _notes(case: Case) -> tuple[str, ...]:
    """What to say where nothing is wrong with the gradients and the loss still does not fall."""
    if case.training is None or not case.failing:
        return ()
    steps = len(case.training.loss)
    if case.learns_later:
        return (f"the loss stands still for {steps} steps and falls when the training goes on",)
    return (
        f"no fault was found, and the loss did not fall in {steps} steps: look at the data, the "
        "labels and the learning rate, or train for longer",
    )


# Chinese for the texts above, by template.
ZH = {
    "{code}: needs training": "{code}：需要一段训练",
    "{code}: needs training, input use": "{code}：需要一段训练，并测量对输入的使用程度",
    "{code}: needs input use": "{code}：需要测量对输入的使用程度",
    "{code}: needs layers": "{code}：需要两层以上",
    "{code}: needs gradient": "{code}：需要至少一个参数的梯度",
    "{code}: needs layers, training": "{code}：需要两层以上和一段训练",
    "replayed with one thing changed, loss at the end: {ends}; as it stands {x}": (
        "只改变一项后重放，末尾损失：{ends}；不作改变时为 {x}"
    ),
    "the loss stands still for {n} steps and falls when the training goes on": (
        "损失在 {n} 步内停滞，继续训练后下降"
    ),
    "no fault was found, and the loss did not fall in {n} steps: look at the data, the labels and "
    "the learning rate, or train for longer": (
        "没有发现故障，但损失在 {n} 步内没有下降：请检查数据、标签和学习率，或训练更久"
    ),
}
