"""Words and numbers that the ripple's views share."""

from __future__ import annotations

import math
import re

from isograd.reporters.ripple_zh import CHINESE


def translated(note: str, lang: str) -> str:
    """A sentence that the measurement wrote, with its values."""
    if lang != "zh":
        return note
    for english, chinese in CHINESE.items():
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+)", re.escape(english))
        match = re.fullmatch(pattern, note, re.DOTALL) if len(english) > 24 else None
        if match is not None:
            return re.sub(r"\{(\w+)\}", lambda m, match=match: match[m[1]], chinese)
    return note


def six(value: float) -> str:
    """Six digits."""
    return f"{value:.6g}"


def error_text(value: float) -> str:
    """An error as a power of ten: more digits would mean nothing."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    return re.sub(r"e([+-])0*(\d)", r"e\1\2", f"{value:.0e}")


def percent(value: float | None) -> str:
    """Three digits of a share; a question mark for None."""
    return "?" if value is None else f"{100 * value:.3g} %"
