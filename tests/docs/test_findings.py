"""The findings page is what the rules say."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_made_from_the_rules():
    made = runpy.run_path(str(DOCS / "make_findings.py"))["page"]()
    assert made == (DOCS / "findings.md").read_text(encoding="utf-8"), (
        "run `python docs/make_findings.py`"
    )
