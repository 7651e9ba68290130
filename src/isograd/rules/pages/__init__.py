"""Pages of rules in other languages; the English one is the docstring of the rule."""

from __future__ import annotations

import re
import textwrap
from functools import cache
from importlib import resources

# Headings of a docstring, in order, and in Chinese.
HEADINGS = {
    "What it checks": "检查什么",
    "Why it matters": "为什么重要",
    "When it is wrong": "何时不适用",
    "What to do": "怎么办",
    "References": "参考文献",
}
_CODE = re.compile(r"[A-Z]\d{3}：")


def in_chinese(english: str) -> str | None:
    """The Chinese page of a rule; None if it has none.

    Args:
        english: Docstring of the rule, whose references are taken over.
    """
    page = _pages().get(english.strip()[:4])
    if page is None:
        return None
    references = re.search(r"^References:\n(.*)\Z", english.strip(), re.DOTALL | re.MULTILINE)
    if references is None:
        return page
    listed = textwrap.indent(textwrap.dedent(references[1]), "    ")
    return f"{page}\n\n{HEADINGS['References']}：\n{listed}"


@cache
def _pages() -> dict[str, str]:
    """Pages by code, laid out like the docstrings."""
    found: dict[str, list[str]] = {}
    code = ""
    known = set(HEADINGS.values())
    for file in resources.files(__name__).iterdir():
        if not file.name.endswith(".zh.md"):
            continue
        for line in file.read_text(encoding="utf-8").splitlines():
            if _CODE.match(line):
                code = line[:4]
                found[code] = [line]
            elif line in known:
                found[code] += ["", f"{line}："]
            elif line:
                found[code].append(f"    {line}")
    return {code: "\n".join(lines) for code, lines in found.items()}
