"""Writes the list at the end of docs/theory.md from docstrings: `python docs/make_theory.py`."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

from isograd import theory

PAGE = Path(__file__).with_name("theory.md")
MARK = "<!-- The list below is written by docs/make_theory.py. -->\n"
# Constants and types have no docstring of their own.
OTHERS = {
    "ActivationLike": "What every function takes as an activation: a name, a function or a record.",
    "Kind": "Kinds of fixed points of the variance map.",
    "MNIST_SECOND_MOMENT": "Mean square of a pixel of MNIST.",
    "Phase": "`ordered`, `critical` or `chaotic`.",
    "SIGMOID_SLOPE_BOUND": "Largest derivative of the sigmoid, 1/4.",
}


def listing() -> str:
    """A table of public names for each module of `isograd.theory`."""
    groups: dict[str, list[str]] = {}
    for name in theory.__all__:
        if name not in OTHERS:
            module = getattr(theory, name).__module__
            if module == theory.__name__:  # an error that shows its public path
                module = theory.get.__module__
            groups.setdefault(module, []).append(name)
    parts = []
    for module in sorted(groups):
        title = _first(importlib.import_module(module)).rstrip(".")
        rows = [
            f"| `{name}` | {_first(getattr(theory, name))} |" for name in sorted(groups[module])
        ]
        parts.append("\n".join([f"### {title}", "", "| name | what |", "|---|---|", *rows, ""]))
    rows = [f"| `{name}` | {text} |" for name, text in OTHERS.items()]
    parts.append("\n".join(["### Constants and types", "", "| name | what |", "|---|---|", *rows]))
    return "\n".join(parts) + "\n"


def page() -> str:
    """The page with a new list."""
    head = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    return head + MARK + "\n" + listing()


def _first(thing: object) -> str:
    text = (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")
    # Formulas stay readable without a renderer; a bar would end the table's cell.
    return re.sub(r"\$([^$]*)\$", r"`\1`", text).replace("|", r"\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
