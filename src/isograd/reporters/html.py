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

from isograd.records.finding import Diagnosis
from isograd.reporters import chain_view, display, verdict
from isograd.reporters.language import LANGUAGES, catalogue, speaker, translate

SCRIPTS = ("base.js", "chain.js", "charts.js", "tables.js", "page.js")


def page(diagnosis: Diagnosis) -> str:
    """The whole page as text."""
    style, script = _asset("page.css"), "\n".join(_asset(name) for name in SCRIPTS)
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": policy,
        "title": html.escape(f"isograd · {diagnosis.target or 'model'}"),
        "style": style,
        "script": script,
        "data": _embed(_data(diagnosis)),
    }
    # One pass: what a part contains is never searched for placeholders again.
    return re.sub(r"\{\{(\w+)\}\}", lambda m: parts[m[1]], _asset("page.html"))


def _data(diagnosis: Diagnosis) -> dict[str, Any]:
    words = catalogue("zh")
    translated = {text: translate(text, "zh") for text in _texts(diagnosis) if text}
    return {
        "diagnosis": diagnosis.to_dict(),
        "slowest": diagnosis.snapshot.slowest(),
        "lines": {lang: verdict.lines(diagnosis, speaker(lang), lang) for lang in LANGUAGES},
        "speeds_note": {
            lang: display.layers_note(diagnosis.snapshot.layers, speaker(lang))
            for lang in LANGUAGES
        },
        "kind_names": dict(verdict.KIND_NAMES),
        "fold": {
            "above": chain_view.FOLD_ABOVE,
            "costly": chain_view.KEEP_COSTLY,
            "ends": chain_view.KEEP_ENDS,
            "near": chain_view.NEAR_UNIT,
            "run": chain_view.MERGE_RUN,
        },
        "zh": {**words, **{a: b for a, b in translated.items() if a != b}},
    }


def _texts(diagnosis: Diagnosis) -> Iterable[str]:
    """Every sentence that a rule or a measurement wrote, for translation."""
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
