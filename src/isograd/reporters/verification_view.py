"""The check of every gradient against finite differences, in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from isograd.records.ripple import Check, Suspect, Verification
from isograd.reporters.language import Say
from isograd.reporters.ripple_words import error_text, percent, six, translated

if TYPE_CHECKING:
    from rich.text import Text

_STYLES = {"agrees": "green", "disagrees": "bold red", "kink": "blue", "unresolved": "yellow"}
_REASONS = {
    "backward": "`{op}`{place}: its backward is not the derivative of its forward (off by {error} "
    "of it)",
    "cut": "`{op}`{place}: a path ends here for the gradient, but the loss still depends on it",
    "hook": "`{op}`{place}: this hook may change gradients",
}
_CHECKS = 30
_SUSPECTS = 8


def verification(v: Verification, tell: Say, width: int, full: bool, lang: str) -> Iterator[Text]:
    """Lines for a check: the verdict, the gradients worth a look, and where it goes wrong."""
    from isograd.reporters.layout import Cell, Column, paragraph, table

    compared = [check for check in v.checks if check.verdict != "frozen"]
    wrong = [check for check in compared if check.verdict == "disagrees"]
    open_ = [check for check in compared if check.verdict == "unresolved"]
    if wrong:
        what = tell(
            "{n} of {total} gradients disagree with finite differences",
            n=len(wrong),
            total=len(compared),
        )
        mark, style = "✗", "bold red"
    elif open_:
        what = tell(
            "no gradient disagrees, {n} of {total} could not be told",
            n=len(open_),
            total=len(compared),
        )
        mark, style = "!", "bold yellow"
    else:
        what = tell("all {n} gradients agree with finite differences", n=len(compared))
        mark, style = "✓", "bold green"
    first = paragraph(what, width, first=f"{mark} ", indent="  ", style="bold")
    first[0].stylize(style, 0, 1)
    yield from first
    how = tell(
        "{dtype}, on a copy · {n} directions for each parameter · agrees up to {tolerance}"
        if v.on_copy
        else "{dtype} · {n} directions for each parameter · agrees up to {tolerance}",
        dtype=v.dtype,
        n=v.directions,
        tolerance=error_text(v.tolerance),
    )
    yield from paragraph(how, width, first="  ", indent="  ", style="dim")
    chosen = _chosen(v.checks, full)
    rows: list[list[Cell]] = [
        [
            (check.parameter, ""),
            (tell("none") if check.gradient is None else six(check.gradient), ""),
            ("" if check.verdict == "frozen" else six(check.finite_difference), ""),
            ("" if check.verdict == "frozen" else error_text(check.relative_error), ""),
            (tell(check.verdict), _STYLES.get(check.verdict, "dim")),
        ]
        for check in chosen
    ]
    if len(chosen) < len(v.checks):
        rows.append([(tell("and {n} more that agree", n=len(v.checks) - len(chosen)), "dim")])
    columns = [
        Column(tell("parameter"), least=16),
        Column(tell("gradient"), right=True, least=11),
        Column(tell("finite difference"), right=True, least=11),
        Column(tell("relative error"), right=True, least=8, keep="start"),
        Column(tell("verdict"), least=9),
    ]
    yield from table(columns, rows, width)
    verdicts = {check.verdict for check in v.checks}
    if "kink" in verdicts:
        text = tell(
            "kink: gradient and differences agree at points close by, so this point has no "
            "derivative (a ReLU at 0, a tie in a maximum): no fault"
        )
        yield from paragraph(text, width, first="  ", indent="  ", style="dim")
    if open_:
        text = tell("unresolved: the differences are too rough to tell")
        yield from paragraph(text, width, first="  ", indent="  ", style="dim")
    for note in v.notes:
        yield from paragraph(translated(note, lang), width, first="  ", indent="  ", style="dim")
    if wrong:
        yield from _suspects(v.suspects, tell, width)


def _suspects(suspects: Sequence[Suspect], tell: Say, width: int) -> Iterator[Text]:
    from isograd.reporters.layout import heading, paragraph

    yield from heading(tell("where it goes wrong"), width)
    if not suspects:
        text = tell(
            "no single op explains it: look for values changed behind autograd's back "
            "(`.data`, in-place writes under no_grad)"
        )
        yield from paragraph(text, width, first="→ ", indent="  ")
    for suspect in suspects[:_SUSPECTS]:
        where = suspect.source or suspect.module
        text = tell(
            _REASONS[suspect.reason],
            op=suspect.op,
            place=tell(" at {source}", source=where) if where else "",
            error=percent(suspect.relative_error),
        )
        yield from paragraph(text, width, first="→ ", indent="  ")
    text = tell(
        "If that is meant (a straight-through estimator, a stopped gradient, clipping in a hook), "
        "it is no fault."
    )
    yield from paragraph(text, width, first="  ", indent="  ", style="dim")


def _chosen(checks: Sequence[Check], full: bool) -> list[Check]:
    if full or len(checks) <= _CHECKS:
        return list(checks)
    plain = [check for check in checks if check.verdict == "agrees"]
    worst = sorted(plain, key=lambda check: -check.relative_error)[: _CHECKS // 2]
    kept = {check.parameter for check in worst}
    return [c for c in checks if c.verdict not in ("agrees", "frozen") or c.parameter in kept]
