"""Every rule's page is there in Chinese too."""

from __future__ import annotations

import re

import pytest

from isograd.cli import main
from isograd.rules import documentation, rules
from isograd.rules.pages import HEADINGS, in_chinese

CODES = [rule.CODE for rule in rules()]
# Of a page without its references, which stay as they are.
BODY = list(HEADINGS.values())[:-1]


def sections(page):
    """Texts under the Chinese headings."""
    parts = re.split(rf"^({'|'.join(HEADINGS.values())})：$", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_its_page(code):
    """A new rule needs one in `rules/pages`."""
    page = documentation(code, "zh")
    assert page.startswith(f"{code}：")
    found = sections(page)
    assert list(found) == list(HEADINGS.values())
    for heading in BODY:
        assert re.search("[一-鿿]{2}", found[heading]), heading


@pytest.mark.parametrize("code", CODES)
def test_a_page_says_what_the_english_one_says(code):
    english, chinese = documentation(code), documentation(code, "zh")
    assert sections(chinese)["参考文献"].split() == english.partition("References:\n")[2].split()
    # What is quoted is quoted from there.
    quoted = set(re.findall(r"`([^`]+)`", chinese))
    assert quoted <= set(re.findall(r"`([^`]+)`", english))
    # Chinese punctuation beside Chinese.
    assert not re.search(r"[一-鿿][,:;()]|[,:;(][一-鿿]", chinese.partition("参考文献")[0])


def test_the_command_prints_it(capsys, monkeypatch):
    assert main(["explain", "g101", "--lang", "zh"]) == 0
    out = capsys.readouterr().out
    assert "检查什么" in out
    assert "Hochreiter (1991)" in out
    monkeypatch.setenv("ISOGRAD_LANG", "zh")
    assert main(["explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("：")[0] for line in lines] == CODES


def test_english_is_shown_where_there_is_no_other():
    assert in_chinese("X999: a rule of somebody else.") is None
    assert documentation("G101").startswith("G101: ")
