import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_what_the_fixes_say():
    made = runpy.run_path(str(DOCS / "make_fixes.py"))["page"]()
    assert made == (DOCS / "fix-catalogue.md").read_text(encoding="utf-8"), (
        "run `python docs/make_fixes.py`"
    )


def test_a_fix_in_no_group_is_named(monkeypatch):
    from isograd.fixes.kind import KINDS, kinds

    page = runpy.run_path(str(DOCS / "make_fixes.py"))["page"]
    monkeypatch.setitem(KINDS, "new-one", kinds()["weights"])
    with pytest.raises(ValueError, match="new-one"):
        page()
