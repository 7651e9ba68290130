import ast
import json
import re
from pathlib import Path
from typing import get_args

import pytest

import isograd.reporters
from isograd.records import finding, op
from isograd.reporters import language, run_list, run_status, verdict

HERE = Path(isograd.reporters.__file__).parent


def words_in_python():
    for file in HERE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "say"
            ):
                # `say("{n} link" if n == 1 else "{n} links", n=n)` has two words.
                first = node.args[0]
                either = [first.body, first.orelse] if isinstance(first, ast.IfExp) else [first]
                yield from (word.value for word in either if isinstance(word, ast.Constant))


def words_in_javascript():
    for file in (HERE / "assets").glob("*.js"):
        text, word = file.read_text(encoding="utf-8"), r'("(?:[^"\\]|\\.)*")'
        for match in re.finditer(rf"\bt\((?:[\w.]+ === 1 \? {word} : )?{word}", text):
            yield from (json.loads(each) for each in match.groups() if each)


USED = {
    *words_in_python(),
    *words_in_javascript(),
    *verdict.KIND_NAMES.values(),
    *op.KINDS,
    *get_args(finding.Severity),
    *get_args(finding.Cause),
    *("forward", "reverse", "skip", "branch"),
}


def test_the_search_finds_words():
    assert {"findings", "fold links of gain near 1"} <= USED
    assert {"; {n} rule lacked data", "; {n} rules lacked data"} <= USED
    assert {"({n} other module)", "({n} other modules)"} <= USED


@pytest.mark.parametrize("word", sorted(USED))
def test_every_word_shown_has_a_chinese_entry(word):
    assert word in language.catalogue("zh")


@pytest.mark.parametrize("module", [run_list, run_status])
def test_every_word_told_beside_the_catalogue_has_a_chinese_entry(module):
    """Those say their words with `tell`, from a table of their own."""
    known = {**language.catalogue("zh"), **module.ZH}
    told = {
        word.value
        for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "tell"
        for word in ast.walk(node.args[0])
        if isinstance(word, ast.Constant) and isinstance(word.value, str) and len(word.value) > 2
    }
    assert len(told) > 5
    assert told - set(known) == set()


@pytest.mark.parametrize(("english", "chinese"), language.catalogue("zh").items())
def test_translations_keep_the_placeholders_and_use_chinese_punctuation(english, chinese):
    fields = re.compile(r"\{\w+\}")
    assert sorted(fields.findall(english)) == sorted(fields.findall(chinese))
    assert not re.search(r"[一-鿿][,:;()]|[,:;(][一-鿿]", chinese)


def test_filled_in_text_is_recognised_and_names_are_kept():
    chinese = "梯度消失：从 `{a}` 到 `{b}` 损失 {n} 个数量级"
    english = "gradient vanishes: {n} decades lost between `{a}` and `{b}`"
    language.extend("zh", {english: chinese})
    text = "gradient vanishes: 5.9 decades lost between `loss` and `layers.0`"
    assert language.translate(text, "zh") == "梯度消失：从 `loss` 到 `layers.0` 损失 5.9 个数量级"
    assert language.translate(text, "en") == text


def test_unknown_text_stays_english():
    assert language.translate("batch size is odd", "zh") == "batch size is odd"


def test_braces_in_a_value_are_not_filled_in():
    assert language.speaker("en")("{n} links", n="{n} {x}") == "{n} {x} links"
