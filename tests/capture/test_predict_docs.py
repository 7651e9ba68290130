"""The page on theory lists what there is."""

import importlib.util
from pathlib import Path

from isograd import theory

DOCS = Path(__file__).parents[2] / "docs"


def maker():
    spec = importlib.util.spec_from_file_location("make_theory", DOCS / "make_theory.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date():
    text = (DOCS / "theory.md").read_text(encoding="utf-8")
    assert text == maker().page(), "run `python docs/make_theory.py`"


def test_every_public_name_has_a_line_of_its_own():
    text = (DOCS / "theory.md").read_text(encoding="utf-8")
    lines = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    described = {name.strip("| `"): what.strip("| ") for name, what in lines}
    assert set(described) == set(theory.__all__)
    assert min(map(len, described.values())) > 10
