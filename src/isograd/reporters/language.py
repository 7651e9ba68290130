"""English and Chinese.

`assets/zh.json` maps English to Chinese, in two parts. `interface` holds the words and templates
of this package, filled in by `speaker`. `records` holds what rules and measurements write: they
fill in their templates before a reporter sees them, so `translate` recognises them again. The
words about fixes are in `fix_words` and `fix_titles`. What has no entry stays English.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources

from isograd.reporters import fix_titles, fix_words

LANGUAGES = ("en", "zh")
Say = Callable[..., str]
_FIELD = re.compile(r"\{(\w+)(?::[^{}]*)?\}")


_added: dict[str, dict[str, str]] = {}


def extend(lang: str, templates: dict[str, str]) -> None:
    """Add what another package writes into records; its own texts travel with it.

    Args:
        lang: Language of the translations.
        templates: English texts or templates with their translation.
    """
    _added.setdefault(lang, {}).update(templates)
    for cached in (catalogue, _parts, _templates):
        cached.cache_clear()


@cache
def catalogue(lang: str) -> dict[str, str]:
    """English words and templates with their translations; empty for English.

    Raises:
        ValueError: If there is no such language.
    """
    parts = _parts(lang)
    return {**parts["interface"], **parts["records"]}


@cache
def _parts(lang: str) -> dict[str, dict[str, str]]:
    if lang not in LANGUAGES:
        raise ValueError(f"`lang` must be one of {', '.join(LANGUAGES)}, got {lang!r}.")
    if lang == "en":
        return {"interface": {}, "records": {}}
    file = resources.files("isograd.reporters") / "assets" / f"{lang}.json"
    parts = json.loads(file.read_text(encoding="utf-8"))
    parts["interface"].update(fix_words.ZH)
    parts["records"] = {**fix_titles.ZH, **parts["records"]}
    parts["records"].update(_added.get(lang, {}))
    return parts


def speaker(lang: str, more: Mapping[str, str] | None = None) -> Say:
    """A function that fills in a template in the language.

    Args:
        lang: `en` or `zh`.
        more: Chinese of further templates.

    Raises:
        ValueError: If there is no such language.

    >>> speaker("en")("{n} links", n=3)
    '3 links'
    """
    words = {**catalogue(lang), **(more or {})} if lang == "zh" else catalogue(lang)

    def say(template: str, **values: object) -> str:
        text = words.get(template, template)
        return _FIELD.sub(lambda m: str(values.get(m[1], m[0])), text) if values else text

    return say


def translate(text: str, lang: str) -> str:
    """Translate text that is already filled in; English where no template fits.

    Values are kept as they are, except where a value is itself an entry (the name of a kind)
    and does not stand between backticks, which mark names of the user's.
    """
    words = catalogue(lang)
    if text in words:
        return words[text]
    for pattern, names, quoted, target in _templates(lang):
        match = pattern.fullmatch(text)
        if match is None:
            continue
        values = dict(zip(names, match.groups(), strict=True))
        for name in names:
            if name not in quoted:
                values[name] = words.get(values[name], values[name])
        return _FIELD.sub(lambda m, values=values: values.get(m[1], m[0]), target)
    return text


@cache
def _templates(lang: str) -> tuple[tuple[re.Pattern[str], tuple[str, ...], set[str], str], ...]:
    """Patterns, the most literal text first: the more specific template wins."""
    made: list[tuple[int, re.Pattern[str], tuple[str, ...], set[str], str]] = []
    for english, target in _parts(lang)["records"].items():
        names = tuple(dict.fromkeys(_FIELD.findall(english)))
        if not names:
            continue
        parts = re.split(r"(\{\w+(?::[^{}]*)?\})", english)
        seen: set[str] = set()
        regex = ""
        for part in parts:
            field = _FIELD.fullmatch(part)
            if field is None:
                regex += re.escape(part)
            elif field[1] in seen:
                regex += f"(?P={field[1]})"
            else:
                seen.add(field[1])
                regex += f"(?P<{field[1]}>.+?)"
        quoted = set(re.findall(r"`\{(\w+)[^{}]*\}`", english))
        literal = len(_FIELD.sub("", english).strip())
        if literal >= 4:  # a template that is nearly all placeholder would match anything
            made.append((literal, re.compile(regex, re.DOTALL), names, quoted, target))
    made.sort(key=lambda item: -item[0])
    return tuple(item[1:] for item in made)
