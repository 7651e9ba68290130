"""The ripple's report: readable at every width, in both languages."""

import ast
import io
import math
import re
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from isograd.records.ripple import Check, Ripple, RippleEnd, RippleLink, Suspect, Verification
from isograd.reporters import ripple_view, verification_view
from isograd.reporters.ripple_view import RippleReport
from isograd.reporters.ripple_zh import CHINESE

FIELD = re.compile(r"\{\w+\}")


def links(n):
    return tuple(
        RippleLink(
            "linear" if i % 2 else "sigmoid", f"blocks.{i}.mlp", f"model.py:{i + 3}",
            10.0 ** (-i / 4), 0.562, "weight", (8, 30), "difference" if i == 3 else "forward",
        )
        for i in range(n)
    )  # fmt: skip


def check(name, verdict="agrees", gradient=0.5):
    return Check(name, gradient, 0.5, 1e-9, 1e-10, 1e-6, verdict)


def verification(*verdicts, suspects=()):
    checks = tuple(check(f"layer.{i}.weight", v) for i, v in enumerate(verdicts))
    return Verification(checks, suspects, 2, "float64", True, 1e-5)


def sample(n=9, **changes):
    values = {
        "parameter": "layers.0.bias", "index": None, "direction": "gradient", "loss": 2.3,
        "links": links(n), "directional_derivative": 0.0125, "finite_difference": 0.0125000001,
        "uncertainty": 1e-11, "eps": 1e-6, "gradient": 0.0125, "unreached": 3,
        "ends": (RippleEnd("detach", "", "model.py:9"),), "dtype": "float32",
        "notes": ("no parameter was asked for: `layers.0.bias` was chosen",), **changes,
    }  # fmt: skip
    return Ripple(**values)


SAMPLES = {
    "short": sample(),
    "long": sample(120),
    "entry": sample(index=(3, 1), direction="entry", gradient=None, finite_difference=None),
    "zero": sample(2, directional_derivative=0.0, links=(
        RippleLink("relu", "", None, 0.0, 0.0, "activation", (3,), "run"),
        RippleLink("mean", "", None, 1.0, math.nan, "pooling", (), "run"),
    )),
    "fine": sample(verification=verification(*["agrees"] * 40)),
    "wrong": sample(
        verification=verification(
            "agrees", "disagrees", "kink", "unresolved", "frozen",
            suspects=(
                Suspect("Scale", "act", "model.py:5", "backward", 0.01),
                Suspect("detach", "", "model.py:7", "cut"),
                Suspect("register_hook", "", None, "hook"),
            ),
        )
    ),
}  # fmt: skip


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("width", [60, 80, 99, 100, 120, 200])
@pytest.mark.parametrize("name", SAMPLES)
def test_no_line_is_wider_than_the_terminal(name, width, lang):
    for line in RippleReport(SAMPLES[name], "model.py:target", lang).text(width).splitlines():
        assert cell_len(line) <= width, line


def test_the_three_derivatives_stand_together():
    text = RippleReport(SAMPLES["short"]).text(80)
    assert re.search(r"forward +0\.0125\n +gradient +0\.0125 +relative difference 0", text)
    assert "finite difference" in text
    assert "error about 8e-10" in text


def test_a_long_chain_is_folded_and_unfolded():
    assert "… " in RippleReport(SAMPLES["long"]).text(80)
    full = RippleReport(SAMPLES["long"], full=True).text(80)
    assert full.count("linear") + full.count("sigmoid") == 120


def test_the_method_is_shown_only_where_it_is_not_forward_mode():
    assert " diff" in RippleReport(SAMPLES["short"]).text(100)
    plain = sample(3)
    assert " by" not in RippleReport(plain).text(100).split("gain:")[0]


def test_what_is_wrong_is_named_with_its_line():
    text = RippleReport(SAMPLES["wrong"]).text(200)
    assert "✗ 1 of 4 gradients disagree" in text
    assert "`Scale` at model.py:5: its backward is not the derivative of its forward" in text
    assert "`detach` at model.py:7: a path ends here" in text
    assert "`register_hook`: this hook may change gradients" in text


def test_agreement_takes_one_line_and_the_worst_rows():
    text = RippleReport(SAMPLES["fine"]).text(80)
    assert "✓ all 40 gradients agree with finite differences" in text
    assert "and 25 more that agree" in text


@pytest.mark.parametrize("name", SAMPLES)
def test_chinese_leaves_no_english_sentence(name):
    text = RippleReport(SAMPLES[name], lang="zh").text(120)
    text = re.sub(r"`[^`]*`", "", text)
    assert not re.search(r"\b(the|gradient|parameter|agree|change|of)\b", text)


def test_every_word_shown_has_a_chinese_entry():
    used = set(ripple_view._DIRECTIONS.values()) | set(verification_view._REASONS.values())
    for view in (ripple_view, verification_view):
        source = Path(view.__file__).read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "tell":
                for part in ast.walk(node.args[0]):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        used.add(part.value)
    assert len(used) > 30
    assert used <= set(CHINESE) | {"agrees"}


@pytest.mark.parametrize(("english", "chinese"), CHINESE.items())
def test_translations_keep_their_placeholders(english, chinese):
    assert sorted(FIELD.findall(english)) == sorted(FIELD.findall(chinese))


def test_rich_prints_the_same_lines_as_text():
    file = io.StringIO()
    Console(file=file, width=100, color_system=None).print(RippleReport(SAMPLES["wrong"]))
    printed = "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"
    assert printed == RippleReport(SAMPLES["wrong"]).text(100)
