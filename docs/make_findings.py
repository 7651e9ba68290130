"""Writes docs/findings.md from the rules' own documentation: `python docs/make_findings.py`."""

from __future__ import annotations

import re
from pathlib import Path

from isograd.rules import rules

PAGE = Path(__file__).with_name("findings.md")
HEAD = """# Findings

Codes are stable: a code is never renamed, and a retired one is never used again. `error` and
`warning` are alarms and make `isograd check` exit with 1. `info` explains, for example a layer that
is frozen on purpose. `isograd explain CODE` prints the same text in the terminal.

| range | about |
|---|---|
| G1xx | size of the gradient: vanishing, exploding, dead or saturated units, exact zeros |
| G2xx | the time axis of recurrent nets |
| G3xx | optimisation |
| G4xx | loss head and data |
| G5xx | the graph: parameters that no gradient reaches |
| G6xx | numbers: NaN, infinity, precision |
| G7xx | instability over the training |
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(_section(rule.__doc__ or "") for rule in rules())


def _section(text: str) -> str:
    title, _, body = text.strip().partition("\n")
    lines = [f"\n## {title.rstrip('.')}\n"]
    for line in body.splitlines():
        heading = re.fullmatch(r"(\w[\w ,']*):", line)
        lines.append(f"**{heading[1]}.**" if heading else line.strip())
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
