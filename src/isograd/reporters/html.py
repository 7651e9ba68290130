"""One offline page: data, script and style in a single file, and no request to anywhere.

The policy in the page's head allows the page's own script and style by their hashes and nothing
else, so that even markup that slipped in could not run. Data is JSON in a block that no browser
executes; the script writes all of it with `textContent`.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Any

from isograd.records import codec
from isograd.records.chain import Chain
from isograd.records.finding import Diagnosis
from isograd.reporters import attention_view, chain_view, naming, speeds, verdict
from isograd.reporters.language import LANGUAGES, catalogue, speaker, translate

SCRIPTS = ("base.js", "chain.js", "charts.js", "tables.js", "cards.js", "page.js")


def page(diagnosis: Diagnosis, lang: str = "en") -> str:
    """The whole page as text.

    Args:
        diagnosis: What to show.
        lang: Language that the page opens in, `en` or `zh`; a button switches.

    Raises:
        ValueError: If there is no such language.
    """
    say = speaker(lang)
    style, script = _asset("page.css"), "\n".join(_asset(name) for name in SCRIPTS)
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {
        "lang": {"zh": "zh-CN"}.get(lang, lang),
        "policy": policy,
        "title": html.escape(f"isograd · {diagnosis.target or say('model')}"),
        "style": style,
        "noscript": say("This report needs JavaScript; it makes no request to anywhere."),
        "script": script,
        "data": _embed(_data(diagnosis, lang)),
    }
    # One pass: what a part contains is never searched for placeholders again.
    return re.sub(r"\{\{(\w+)\}\}", lambda m: parts[m[1]], _asset("page.html"))


def _data(diagnosis: Diagnosis, lang: str) -> dict[str, Any]:
    words = catalogue("zh")
    snapshot = diagnosis.snapshot
    main = snapshot.main_chain()
    translated = {text: translate(text, "zh") for text in _texts(diagnosis, main) if text}
    compared = {each: speeds.build(snapshot, speaker(each)) for each in LANGUAGES}
    return {
        "lang": lang,
        "diagnosis": diagnosis.to_dict(),
        "classes": naming.classes(snapshot),
        "slowest": main.parameter if main is not None else None,
        "main": _path(main) if main is not None and main.note else None,
        "lines": {each: verdict.lines(diagnosis, speaker(each), each) for each in LANGUAGES},
        "speeds": {
            "noise": sorted(compared[lang].noise),
            "cancelled": sorted(compared[lang].cancelled),
            "lines": {
                each: [text for text in (s.spread, s.trap, *s.notes) if text]
                for each, s in compared.items()
            },
        },
        "attention": codec.encode({"rows": attention_view.rows(snapshot)})["rows"],
        "kind_names": dict(verdict.KIND_NAMES),
        "fold": chain_view.folding(),
        "zh": {**words, **{a: b for a, b in translated.items() if a != b}},
    }


def _path(chain: Chain) -> dict[str, Any]:
    """The chain to look at first, where it is one of several paths to its parameter."""
    names = ("op_index", "kind", "norm", "gain", "segment")
    links = [{name: getattr(link, name) for name in names} for link in chain.links]
    return codec.encode({"note": chain.note, "end_to_end": chain.end_to_end, "links": links})


def _texts(diagnosis: Diagnosis, main: Chain | None) -> Iterable[str]:
    """Every sentence that a rule or a measurement wrote, for translation."""
    if main is not None:
        yield main.note
    for finding in diagnosis.findings:
        yield finding.title
        yield from finding.advice
        for item in finding.evidence:
            yield from (item.name, item.unit, item.how)
    yield from diagnosis.not_checked
    yield from diagnosis.notes
    yield from diagnosis.snapshot.not_observed
    for stats in diagnosis.snapshot.parameters.values():
        if stats.missing is not None:
            yield from (stats.missing.reason, stats.missing.detail)
    if diagnosis.comparison is not None:
        yield diagnosis.comparison.metric_name
        for remedy in diagnosis.comparison.remedies:
            yield from (remedy.name, remedy.reason)


def _embed(data: dict[str, Any]) -> str:
    """JSON that cannot end its script element, nor a line of JavaScript."""
    text = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    # Lone surrogates (a file name that is not Unicode) cannot be written as UTF-8.
    return text.encode("utf-8", "replace").decode("utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


@cache
def _asset(name: str) -> str:
    file = resources.files("isograd.reporters") / "assets" / name
    return file.read_text(encoding="utf-8").replace("\r\n", "\n")
