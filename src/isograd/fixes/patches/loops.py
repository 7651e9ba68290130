"""The loop of the user's source: lines in front of the optimizer's step."""

from __future__ import annotations

import ast
import textwrap

from isograd.fixes.patches.optimizer import loop_names, step_line
from isograd.fixes.patches.source import Source
from isograd.fixes.patches.syntax import NotInSourceError
from isograd.fixes.patches.text import File


def before_step(source: Source, lines: str) -> None:
    """Insert lines in front of `optimizer.step()`, in a new loop where the target has none.

    Args:
        source: Edited.
        lines: With `{model}`, `{optimizer}` and `{nn}` for what these are called there.

    Raises:
        NotInSourceError: If there is no place for them.
    """
    if "train_step" in source.target.parts:
        model, optimizer = loop_names(source)
        file, line = step_line(source)
        file.insert(line, None, _filled(lines, source, file, model, optimizer))
        return
    added(
        source,
        "def train_step(model, optimizer):\n"
        "    optimizer.zero_grad()\n"
        "    loss = {step}(model)\n"
        "    loss.backward()\n"
        + textwrap.indent(_filled(lines, source, source.home, "model", "optimizer"), "    ")
        + "    optimizer.step()\n"
        "    return loss\n",
    )


def added(source: Source, lines: str) -> None:
    """A training step as the target's fourth value.

    Args:
        source: Edited.
        lines: That define `train_step`, with `{step}` for the target's step.

    Raises:
        NotInSourceError: If the target does not return three values.
    """
    value, home = source.target.statement.value, source.home
    if not isinstance(value, ast.Tuple) or len(value.elts) != 3:
        raise NotInSourceError("the target does not return (model, step, optimizer)")
    source.before_return(lines.replace("{step}", source.name("step")))
    last = value.elts[-1]
    start, end = home.span(last)
    margin = home.text[home.offset(last.lineno, 0) : start]
    home.edit(end, end, ", train_step" if margin.strip() else f",\n{margin}train_step")


def _filled(lines: str, source: Source, file: File, model: str, optimizer: str) -> str:
    for name, text in (("{model}", model), ("{optimizer}", optimizer)):
        lines = lines.replace(name, text)
    return lines.replace("{nn}", source.nn(file)) if "{nn}" in lines else lines
