"""`isograd fix`, from arguments to output and exit code."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from isograd import api, cli
from isograd.cli import patching
from isograd.cli.fix import trial_seconds
from isograd.records import Diagnosis, Finding, Snapshot
from isograd.records.fix import Fix, Measured, Trial

MODEL = """
import torch
from torch import nn

def target():
    torch.manual_seed(0)
    return nn.Linear(6, 1), lambda model: model(torch.ones(3, 6)).square().mean()
"""
FINDING = Finding("G101", "gradient vanishes", "warning", "activation-derivative")
BEFORE = Measured(2.3, 2.29, 2.31, 2.3, 0.1, -6.0, 50000.0, {}, 7, 0.01, (2.3, 2.3))
AFTER = Measured(0.2, 0.19, 0.21, 2.3, 0.98, -0.6, 2.0, {}, 7, 0.011, (2.3, 0.2))


def trial(title="ReLU instead of sigmoid", verdict="proven", **changes):
    fix = Fix("activation", title, {"to": "relu"}, snippet="nn.ReLU()")
    known = {"predicted": -1.0, "p_value": 0.0002, "seeds": 3, "remaining": (), **changes}
    return Trial(fix, FINDING, BEFORE, AFTER, BEFORE, verdict=verdict, **known)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("ISOGRAD_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    Path("model.py").write_text(textwrap.dedent(MODEL), encoding="utf-8")
    return tmp_path


@pytest.fixture
def stub(here, monkeypatch):
    """`check` and `fix` that measure nothing; notes the settings."""
    told = {"sick": True, "trials": [trial()], "calls": []}

    def check(model, step, optimizer=None, steps=0, *, train_step=None, target=""):
        findings = (FINDING,) if told["sick"] else ()
        return Diagnosis(findings, (), Snapshot(1.0, (), (), {}), target=target)

    def fix(model, step, optimizer=None, **settings):
        told["calls"].append(settings)
        settings["progress"]("proof", 1, 2)
        return told["trials"]

    monkeypatch.setattr(api, "check", check)
    monkeypatch.setattr(api, "fix", fix)
    monkeypatch.setattr(patching, "patched", lambda trial, target, sites, *, verify: trial)
    return told


def run(*arguments):
    return cli.main(["fix", "model.py:target", *arguments])


def test_a_proven_fix_is_shown_and_exits_0(stub, capsys):
    assert run("--width", "80") == 0
    out = capsys.readouterr().out
    assert "G101 gradient vanishes" in out
    assert "proven: ReLU instead of sigmoid; the loss ends at 0.200 instead of 2.30" in out
    assert "-0.60 (-1.00)" in out
    assert max(map(len, out.splitlines())) <= 80


def test_nothing_proven_exits_1(stub, capsys):
    stub["trials"] = [trial(verdict="no better", reason="the training breaks")]
    assert run() == 1
    assert "none of 1 fixes is proven" in capsys.readouterr().out


def test_a_healthy_target_has_nothing_to_fix(stub, capsys):
    stub["sick"] = False
    assert run() == 0
    assert capsys.readouterr().out == "nothing to fix\n"
    assert stub["calls"] == []


def test_no_fix_of_the_catalogue_fits(stub, capsys):
    stub["trials"] = []
    assert run() == 1
    assert "No fix of the catalogue fits these findings." in capsys.readouterr().out


def test_settings_reach_the_engine(stub):
    flags = "--steps 7 --seeds 4 --time-limit 9 --jobs 3 --backend serial --quiet".split()
    run(*flags)
    (settings,) = stub["calls"]
    wanted = {"steps": 7, "seeds": 4, "time_limit": 9.0, "jobs": 3, "backend": "serial"}
    assert {name: settings[name] for name in wanted} == wanted


def test_by_default_the_trials_get_what_is_left_of_a_minute(stub):
    run("--quiet")
    (settings,) = stub["calls"]
    assert 30 <= settings["time_limit"] <= 45
    assert trial_seconds(0, 0) == 45
    assert trial_seconds(20, 5) == 35
    assert trial_seconds(90, 80) == 30


def test_json_alone_goes_to_stdout(stub, capsys):
    run("--json")
    data = json.loads(capsys.readouterr().out)
    assert data["ok"] is False
    assert [Trial.from_dict(t).proven for t in data["trials"]] == [True]


def test_json_and_page_go_to_files(stub, capsys):
    run("--json", "out.json", "--html", "out.html", "--quiet")
    assert capsys.readouterr().out == ""
    assert json.loads(Path("out.json").read_text(encoding="utf-8"))["trials"]
    assert "ReLU instead of sigmoid" in Path("out.html").read_text(encoding="utf-8")


def test_chinese(stub, capsys):
    run("--lang", "zh")
    assert "已证实" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--seeds", "1"), "--seeds must be at least 2"),
        (("--time-limit", "0"), "--time-limit must be above 0"),
    ],
)
def test_settings_that_prove_nothing_are_refused(stub, capsys, flags, words):
    assert run(*flags) == 2
    assert words in capsys.readouterr().err


def test_a_proven_fix_without_a_place_in_the_source_says_what_to_paste(stub, capsys):
    assert run("--patch", "out.diff") == 2
    error = capsys.readouterr().err
    assert "no place in your source" in error
    assert "nn.ReLU()" in error
    assert not Path("out.diff").exists()
