"""Theory beside measurement in a terminal: readable at every width, in both languages."""

import ast
import io
import json
import math
import re
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from isograd.records.prediction import (
    AT_INIT,
    LEVELS,
    READINGS,
    Cut,
    ErrorBar,
    Gap,
    Level,
    Place,
    Prediction,
    Rate,
)
from isograd.reporters import theory_view
from isograd.reporters.theory_view import TheoryReport
from isograd.reporters.theory_view_zh import CHINESE

FIELD = re.compile(r"\{\w+\}")
SOURCES = (Path(theory_view.__file__),)


def cut(i, gain=0.5, op="linear", missing=()):
    levels = {x: None if x in missing else Level(gain, "how", 0.01) for x in LEVELS}
    return Cut(op, f"blocks.{i}.mlp", f"model.py:{i + 3}", "weight", levels, {}, op == "add")


def gap(first, decades, *, places=(), at_init=False):
    return Gap((first, f"L{int(first[1]) + 1}"), decades, -0.2, 0.2, places, at_init)


def sample(n=6, gaps=None, **changes):
    cuts = tuple(cut(i, op="linear" if i % 2 else "add") for i in range(n))
    total = sum(c.decades("L0") for c in cuts)
    numbers = dict.fromkeys(LEVELS, total)
    fields = dict(
        parameter="blocks.0.bias", cuts=cuts, totals=numbers,
        errors={"L0": 0.0, "L1": 0.0, "L2": 0.002, "L3": 0.003, "L4": 0.0},
        error_bar=ErrorBar(-0.4, 0.3, 0.9, (64, 64), "relu"),
        gaps=gaps or tuple(gap(level, 0.0) for level in LEVELS[:-1]),
        unknown=("cumsum (odd)",), rules={"a.weight": "torch default"}, at_init=True,
        probes=16,
    )  # fmt: skip
    return Prediction(**{**fields, **changes})


PLACES = (Place("tanh", "body.3", "model.py:30", -0.7), Place("relu", "", None, -0.2))
SAMPLES = {
    "agreement": sample(),
    "gaps": sample(
        gaps=(
            gap("L0", 0.9, at_init=True),
            gap("L1", -0.9, places=PLACES),
            gap("L2", 0.1, places=PLACES),
            gap("L3", 1.2, at_init=True),
        ),
        moved=("a.weight",),
    ),
    "long": sample(120),
    "no theory": sample(cuts=(cut(0, missing=("L0", "L1")), cut(1, missing=LEVELS))),
    "no cut": Prediction(
        "weight", (), dict.fromkeys(LEVELS, 0.0), dict.fromkeys(LEVELS, 0.0), None, (), (), {},
        False,
        recurrent=(
            Rate("lstm", 0, "forward", 7, 0.5, "state with small weights, sigmoid(update bias)", 1),
            Rate("rnn", 1, "reverse", 7, None, "", math.nan),
        ),
        notes=("the main chain ends at `w`, with no cut between it and the model's output",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", SAMPLES)
def test_no_line_is_wider_than_the_terminal(name, width, lang):
    lines = TheoryReport(SAMPLES[name], lang).text(width).splitlines()
    assert max(cell_len(line) for line in lines) <= width


@pytest.mark.parametrize("width", [80, 120])
def test_all_levels_have_a_column_at_every_width(width):
    text = TheoryReport(SAMPLES["agreement"]).text(width)
    head = next(line for line in text.splitlines() if line.split()[:1] == ["op"])
    assert head.split()[-5:] == list(LEVELS)
    total = next(line for line in text.splitlines() if line.strip().startswith("total"))
    assert total.split()[1:] == ["-1.81"] * 5  # 6 times log10 of a half


def test_agreement_is_said_in_one_line():
    text = TheoryReport(SAMPLES["agreement"]).text(120)
    assert text.count("✓") == 4
    assert "theory and measurement agree: -1.81 decades from the init rule, -1.81 measured" in text


def test_a_gap_is_read_out_with_its_places():
    text = TheoryReport(SAMPLES["gaps"]).text(200)
    assert "theory and measurement agree" not in text
    assert "L1 → L2  -0.90  (chance: -0.20 to +0.20): units are dead, saturated" in text
    assert "most of it at `tanh` in `body.3` (model.py:30) -0.70, `relu` -0.20" in text
    assert "the loss points along the top directions of the Jacobian; if the weights are" in text
    assert "within the error bar in all, not at single ops" in text
    assert "`a.weight`; taken as drawn by the rule above" in text


def test_a_dead_layer_and_a_graph_that_cannot_be_run_in_part_are_shown():
    dead = sample(gaps=(gap("L1", -math.inf, places=PLACES[:1]),))
    assert "L1 → L2  -inf" in TheoryReport(dead).text(100)
    note = "the graph cannot be run in part: reentrant"
    assert note in TheoryReport(sample(notes=(note,))).text(100)
    assert "无法只运行" in TheoryReport(sample(notes=(note,)), "zh").text(100)


def test_what_lies_inside_the_error_bar_has_no_reading():
    assert gap("L1", -0.19).reading == ()
    assert gap("L1", -0.21).reading == (READINGS["L1", "L2"][0],)
    assert gap("L1", 0.21, at_init=True).reading == (READINGS["L1", "L2"][1], AT_INIT["L1", "L2"])


def test_a_missing_level_counts_with_the_next_one_and_shows_a_dash():
    shown = TheoryReport(SAMPLES["no theory"]).text(100).splitlines()
    row = next(line for line in shown if "blocks.0.mlp" in line)
    assert row.split()[-5:] == ["-", "-", "-0.30", "-0.30", "-0.30"]
    assert cut(0, missing=("L0", "L1")).decades("L0") == pytest.approx(math.log10(0.5))
    assert math.isnan(cut(0, missing=LEVELS).decades("L2"))


def test_a_deep_net_is_folded_and_unfolded():
    folded = TheoryReport(SAMPLES["long"]).text(120)
    assert "… 96 more" in folded
    assert len(folded.splitlines()) < 50
    assert "… 96 more" not in TheoryReport(SAMPLES["long"], full=True).text(120)


def test_ops_that_change_nothing_share_a_line():
    cuts = (cut(0), cut(1, 1.0, "view"), cut(2, 1.0, "transpose"), cut(3))
    assert "… 2 unchanged" in TheoryReport(sample(cuts=cuts)).text(100)


def words():
    used = {*theory_view._MEANINGS.values(), *theory_view._NOTES, *AT_INIT.values()}
    used |= {text for pair in READINGS.values() for text in pair}
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "tell" and node.args:
                for part in ast.walk(node.args[0]):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        used.add(part.value)
    return used


def test_every_word_shown_has_a_chinese_entry():
    assert len(words()) > 30
    assert words() <= set(CHINESE)


@pytest.mark.parametrize(("english", "chinese"), CHINESE.items())
def test_translations_keep_their_placeholders(english, chinese):
    assert sorted(FIELD.findall(english)) == sorted(FIELD.findall(chinese))


@pytest.mark.parametrize("name", SAMPLES)
def test_chinese_leaves_no_english_sentence(name):
    text = TheoryReport(SAMPLES[name], "zh").text(120)
    assert not re.search(r"[a-z]{3,} [a-z]{3,} [a-z]{3,}", text)


def test_json_has_the_readings_and_no_nan():
    data = SAMPLES["gaps"].to_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data["gaps"][1]["reading"] == [READINGS["L1", "L2"][0]]
    assert data["gaps"][2]["inside"] is True
    assert data["cuts"][0]["levels"]["L2"] == {"gain": 0.5, "method": "how", "error": 0.01}


def test_rich_prints_the_same_lines_as_text():
    report = TheoryReport(SAMPLES["gaps"])
    out = io.StringIO()
    Console(file=out, width=80, highlight=False).print(report, soft_wrap=True)
    assert [line.rstrip() for line in out.getvalue().splitlines()] == report.text(80).splitlines()


TARGET = """
import torch
from torch import nn

def target():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 4))
    return model, lambda m: m(torch.ones(3, 8)).square().mean()
"""


def test_check_theory_prints_the_table_and_adds_a_key(tmp_path, capsys):
    from isograd import cli

    file = tmp_path / "net.py"
    file.write_text(TARGET)
    cli.main(["check", f"{file}:target", "--theory", "--width", "100", "--lang", "en"])
    shown = capsys.readouterr().out
    assert "theory beside measurement" in shown
    assert "L0 → L1" in shown
    cli.main(["check", f"{file}:target", "--theory", "--json"])
    data = json.loads(capsys.readouterr().out)
    assert set(data["theory"]["totals"]) == set(LEVELS)
    cli.main(["check", f"{file}:target", "--json"])
    assert "theory" not in json.loads(capsys.readouterr().out)
