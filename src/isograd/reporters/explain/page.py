"""Puts the parts together: scripts, style and texts in one file that asks for nothing outside.

Palette and look are those of the report's page; `page.css` adds what only this page has.
"""

from __future__ import annotations

import html
import json
import re
from functools import cache
from importlib import resources

from isograd.reporters import html as report
from isograd.reporters.language import LANGUAGES

MATHS = ("activations.js", "chain.js", "random.js", "wide.js", "training.js")
SCRIPTS = (
    "dom.js",
    *MATHS,
    "controls.js",
    "plot.js",
    "show_chain.js",
    "show_product.js",
    "show_ripple.js",
    "show_condition.js",
    "show_draws.js",
    "show_wide.js",
    "show_training.js",
    "show_page.js",
)


def page(lang: str = "en") -> str:
    """The whole page as text.

    Args:
        lang: Language that the page opens in, `en` or `zh`; a button switches.

    Raises:
        ValueError: If there is no such language.
    """
    if lang not in LANGUAGES:
        raise ValueError(f"`lang` must be one of {', '.join(LANGUAGES)}, got {lang!r}.")
    style = report._asset("page.css") + _part("page.css")
    script = "\n".join(_part(name) for name in SCRIPTS)
    policy = (
        f"default-src 'none'; script-src '{report._hash(script)}'; "
        f"style-src '{report._hash(style)}'; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "lang": {"zh": "zh-CN"}.get(lang, lang),
        "policy": policy,
        "title": html.escape(said("page.title", lang)),
        "style": style,
        "noscript": html.escape(said("page.noscript", lang)),
        "script": script,
        "data": report._embed({"lang": lang, "texts": texts()}),
    }
    # One pass: what a part contains is never searched for placeholders again.
    return re.sub(r"\{\{(\w+)\}\}", lambda m: parts[m[1]], _part("page.html"))


@cache
def texts() -> dict[str, tuple[str, str]]:
    """All sentences of the page by name, English and Chinese.

    Between dollars stands mathematics, between backticks code, between asterisks emphasis, and
    in braces a value that the page fills in.
    """
    return {name: (pair[0], pair[1]) for name, pair in json.loads(_part("texts.json")).items()}


def said(name: str, lang: str) -> str:
    """One sentence in one language.

    >>> said("page.title", "en")
    'Why the first layer learns slowly'
    """
    return texts()[name][LANGUAGES.index(lang)]


@cache
def _part(name: str) -> str:
    file = resources.files("isograd.reporters.explain") / name
    return file.read_text(encoding="utf-8").replace("\r\n", "\n")
