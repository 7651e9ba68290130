"""A run as one page: offline with everything in it, or live with what a server sends."""

from __future__ import annotations

import html
import re
from functools import cache
from importlib import resources
from typing import Any

from isograd.reporters import chain_view, verdict
from isograd.reporters import html as report
from isograd.reporters.language import LANGUAGES, catalogue
from isograd.reporters.run_page.state import State

SHARED = ("base.js", "chain.js", "charts.js", "tables.js", "cards.js")
# uPlot: lines over steps (MIT; version and origin in `assets/vendor/README.md`).
OVER_STEPS = (
    "vendor/uPlot.iife.min.js",
    "bins.js",
    "axis.js",
    "pictures.js",
    "heat.js",
    "lines.js",
    "alarms.js",
    "layers.js",
    "facts.js",
    "frame.js",
)
SCRIPTS = (*OVER_STEPS, "shots.js", "live.js", "run.js")
COMPARE = (*OVER_STEPS, "compare.js")


def page(state: State, lang: str = "en") -> str:
    """The whole page as text; it asks for nothing.

    Args:
        state: What to show.
        lang: Language that the page opens in, `en` or `zh`; a button switches.

    Raises:
        ValueError: If there is no such language.
    """
    return _page({"run": state.to_dict()}, f"isograd · {state.name}", lang, connect="")[0]


def live_page(name: str, events: str, lang: str = "en") -> tuple[str, str]:
    """The page that follows a run, and its content policy for the response's head.

    Args:
        name: What the run is called.
        events: Address of the stream of events, relative to the page.
        lang: As for `page`.

    Raises:
        ValueError: If there is no such language.
    """
    return _page({"run": None, "events": events}, f"isograd live · {name}", lang, "'self'")


def compare_page(data: dict[str, Any], title: str, zh: dict[str, str], lang: str = "en") -> str:
    """The page of two runs beside each other.

    Args:
        data: `run`, the numbers as those of a run, and `compare`, what was found.
        title: What the page is called.
        zh: Chinese of what was said.
        lang: As for `page`.

    Raises:
        ValueError: If there is no such language.
    """
    return _page(data, title, lang, "", COMPARE, zh)[0]


def words() -> dict[str, str]:
    """English texts of this page with their Chinese."""
    return _words()


def _page(
    data: dict[str, Any],
    title: str,
    lang: str,
    connect: str,
    scripts: tuple[str, ...] = SCRIPTS,
    zh: dict[str, str] | None = None,
) -> tuple[str, str]:
    if lang not in LANGUAGES:
        raise ValueError(f"`lang` must be one of {', '.join(LANGUAGES)}, got {lang!r}.")
    style = report._asset("page.css") + _part("vendor/uPlot.min.css") + _part("run.css")
    script = "\n".join((*map(report._asset, SHARED), *map(_part, scripts)))
    policy = (
        f"default-src 'none'; script-src '{report._hash(script)}'; "
        f"style-src '{report._hash(style)}'; base-uri 'none'; form-action 'none'"
        + (f"; connect-src {connect}" if connect else "")
    )
    noscript = "This page needs JavaScript; it makes no request to anywhere."
    if connect:
        noscript = "This page needs JavaScript; it speaks to nobody but this isograd."
    parts = {
        "lang": {"zh": "zh-CN"}.get(lang, lang),
        "policy": policy,
        "title": html.escape(title),
        "style": style,
        "noscript": words()[noscript] if lang == "zh" else noscript,
        "script": script,
        "data": report._embed({**data, **_common(lang, zh or {})}),
    }
    # One pass: what a part contains is never searched for placeholders again.
    text = re.sub(r"\{\{(\w+)\}\}", lambda m: parts[m[1]], report._asset("page.html"))
    return text, policy


def _common(lang: str, zh: dict[str, str]) -> dict[str, Any]:
    return {
        "lang": lang,
        "classes": {},
        "slowest": None,
        "main": None,
        "speeds": {"noise": [], "cancelled": []},
        "kind_names": dict(verdict.KIND_NAMES),
        "fold": chain_view.folding(),
        "zh": {**catalogue("zh"), **words(), **zh},
    }


@cache
def _words() -> dict[str, str]:
    import json

    return json.loads(_part("zh.json"))


@cache
def _part(name: str) -> str:
    file = resources.files("isograd.reporters.run_page") / "assets" / name
    return file.read_text(encoding="utf-8").replace("\r\n", "\n")
