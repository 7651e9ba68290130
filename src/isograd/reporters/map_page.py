"""A map of trainability as one offline page, in the look and under the policy of the report."""

from __future__ import annotations

import html
import re
from functools import cache
from importlib import resources

from isograd.records import codec
from isograd.records.trainability import Trainability
from isograd.reporters import html as report
from isograd.reporters import map_texts
from isograd.reporters.explain.page import _part as explain_part
from isograd.reporters.language import LANGUAGES

SCRIPTS = ("heat.js", "map.js")


def page(found: Trainability, lang: str = "en") -> str:
    """The whole page as text.

    Args:
        found: What to show.
        lang: Language that the page opens in, `en` or `zh`; a button switches.

    Raises:
        ValueError: If there is no such language.
    """
    tell = map_texts.teller(lang)
    style = report._asset("page.css") + _part("map.css")
    script = "\n".join((explain_part("dom.js"), *map(_part, SCRIPTS)))
    policy = (
        f"default-src 'none'; script-src '{report._hash(script)}'; "
        f"style-src '{report._hash(style)}'; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "lang": {"zh": "zh-CN"}.get(lang, lang),
        "policy": policy,
        "title": html.escape(f"isograd · {map_texts.title(found, lang)}"),
        "style": style,
        "noscript": html.escape(tell("page.noscript")),
        "script": script,
        "data": report._embed(_data(found, lang)),
    }
    # One pass: what a part contains is never searched for placeholders again.
    return re.sub(r"\{\{(\w+)\}\}", lambda m: parts[m[1]], report._asset("page.html"))


def _data(found: Trainability, lang: str) -> dict[str, object]:
    return {
        "lang": lang,
        "map": found.to_dict(),
        "limits": codec._plain(found.limits().tolist()),
        "line": codec._plain(
            [(p.scale, p.limit) for p in found.theory.points] if found.theory else []
        ),
        "trainable": codec._plain(found.trainable_depths().tolist()),
        "texts": map_texts.texts(),
        "words": {
            each: {
                "title": map_texts.title(found, each),
                "facts": map_texts.facts(found, each),
                "notes": list(map_texts.notes(found, each)),
            }
            for each in LANGUAGES
        },
    }


@cache
def _part(name: str) -> str:
    file = resources.files("isograd.reporters") / "map_assets" / name
    return file.read_text(encoding="utf-8").replace("\r\n", "\n")
