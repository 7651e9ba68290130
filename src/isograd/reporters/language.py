"""English and Chinese.

`assets/zh.json` maps English to Chinese. A key with `{placeholders}` is a template: it fills in
text made here (`speaker`), and it recognises text that a rule has already filled in
(`translate`). What has no entry stays English.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from importlib import resources

LANGUAGES = ("en", "zh")
_FIELD = re.compile(r"\{(\w+)(?::[^{}]*)?\}")


@cache
def catalogue(lang: str) -> dict[str, str]:
    """English templates and their translations; empty for English.

    Raises:
        ValueError: If there is no such language.
    """
    if lang not in LANGUAGES:
        raise ValueError(f"`lang` must be one of {', '.join(LANGUAGES)}, got {lang!r}.")
    if lang == "en":
        return {}
    file = resources.files("isograd.reporters") / "assets" / f"{lang}.json"
    return json.loads(file.read_text(encoding="utf-8"))


def speaker(lang: str) -> Callable[..., str]:
    """A function that fills in a template in the language.

    >>> speaker("en")("{n} links", n=3)
    '3 links'
    """
    words = catalogue(lang)

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
    for english, target in catalogue(lang).items():
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
