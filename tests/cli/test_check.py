"""`isograd check`, from arguments to output and exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from isograd import api, cli
from isograd.cli import options
from isograd.errors import StepError
from isograd.records import Diagnosis, Finding, Snapshot

MODEL = """
import torch
from torch import nn

def deep():
    torch.manual_seed(0)
    layers = [part for _ in range(8) for part in (nn.Linear(6, 6), nn.Sigmoid())]
    return nn.Sequential(*layers, nn.Linear(6, 1)), step

def target():
    torch.manual_seed(0)
    print("printed by the target")
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1)), step

def seeded():
    return nn.Linear(6, 1), lambda model: model.weight.sum()

def exits():
    return nn.Linear(6, 1), lambda model: exit(0)

def step(model):
    print("printed by the step")
    x = torch.linspace(-1, 1, 60).view(10, 6)
    return (model(x) - 1).square().mean()
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("ISOGRAD_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    Path("model.py").write_text(textwrap.dedent(MODEL), encoding="utf-8")
    return tmp_path


@pytest.fixture
def stub(monkeypatch):
    """`api.check` that measures nothing; notes how it was called."""
    calls = []
    finding = Finding("G101", "gradient vanishes", "warning", "activation-derivative")
    snapshot = Snapshot(1.0, (), (), {})

    def check(model, step, optimizer=None, steps=0, *, train_step=None, target=""):
        calls.append((model, step, optimizer, steps, target))
        return Diagnosis((finding,) if stub.sick else (), (), snapshot, target=target)

    def stub():
        return calls

    stub.sick = False
    monkeypatch.setattr(api, "check", check)
    return stub


def check(*arguments):
    return cli.main(["check", *arguments])


def test_a_healthy_model_exits_0_with_a_report(here, capsys):
    assert check("model.py:target") == 0
    assert "healthy: no gradient fault found" in capsys.readouterr().out


def test_findings_exit_1(here, capsys):
    assert check("model.py:deep") == 1
    out = capsys.readouterr().out
    assert "G101" in out
    assert "activation derivative" in out


def test_nothing_is_written_unless_asked(here, stub):
    check("model.py")
    assert sorted(p.name for p in here.iterdir() if p.name != "__pycache__") == ["model.py"]


def test_json_alone_prints_json_alone(here, capsys):
    for arguments in (["model.py", "--json"], ["--json", "model.py"], ["model.py", "--json", "-"]):
        assert check(*arguments) == 0
        out, err = capsys.readouterr()
        assert json.loads(out)["ok"] is True
        assert "printed by the target" in err
        assert "printed by the step" in err


def test_json_to_a_file_keeps_the_report(here, stub, capsys):
    stub.sick = True
    assert check("model.py", "--json", "out.json") == 1
    assert "G101" in capsys.readouterr().out
    assert json.loads(Path("out.json").read_text(encoding="utf-8"))["findings"][0]["code"] == "G101"


def test_json_and_html_together_keep_stdout_clean(here, stub, capsys):
    assert check("model.py", "--json", "--html", "page.html") == 0
    out, err = capsys.readouterr()
    json.loads(out)
    assert "page: page.html" in err
    assert Path("page.html").exists()


def test_quiet_prints_no_report(here, stub, capsys):
    stub.sick = True
    assert check("model.py", "--quiet", "--html", "page.html", "--json", "a.json") == 1
    assert capsys.readouterr().out == "printed by the target\n"
    assert Path("page.html").exists()


def test_the_arguments_reach_the_measurement(here, stub):
    check("model.py:deep", "--steps", "7", "--quiet")
    ((model, step, optimizer, steps, target),) = stub()
    assert (len(model), callable(step), optimizer, steps, target) == (
        17,
        True,
        None,
        7,
        "model.py:deep",
    )


def test_a_page_of_its_own_is_renewed_and_no_other_file_touched(here, stub, capsys):
    assert check("model.py", "--html", "page.html", "--quiet") == 0
    assert check("model.py", "--html", "page.html", "--quiet") == 0
    Path("thesis.html").write_text("<html><title>My isograd thesis</title>", encoding="utf-8")
    calls = len(stub())
    assert check("model.py", "--html", "thesis.html") == 2
    assert len(stub()) == calls, "refuse before measuring"
    assert capsys.readouterr().err.splitlines() == [
        "isograd check: will not overwrite `thesis.html` without --force: it is no isograd page."
    ]
    assert "thesis" in Path("thesis.html").read_text(encoding="utf-8")
    assert check("model.py", "--html", "thesis.html", "--force", "--quiet") == 0
    assert "thesis" not in Path("thesis.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("option", ["--html", "--json"])
def test_a_file_that_cannot_be_written_is_refused_before_measuring(here, stub, capsys, option):
    Path("folder").mkdir()
    assert check("model.py", option, "folder") == 2
    assert check("model.py", option, "nowhere/x") == 2
    assert stub() == []
    assert capsys.readouterr().err.splitlines() == [
        "isograd check: cannot write `folder`: it is a directory.",
        "isograd check: cannot write `nowhere/x`: there is no directory `nowhere`.",
    ]


def test_a_chosen_parameters_chain_is_shown(here, capsys):
    assert check("model.py:deep", "--parameter", "4.weight", "--width", "90") == 1
    assert "`4.weight`" in capsys.readouterr().out


def test_an_unknown_parameter_lists_near_names(here, capsys):
    assert check("model.py", "--parameter", "0.wieght") == 2
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith("isograd check: --parameter: no parameter '0.wieght'; near names: 0.weight")
    )


def test_seed_fixes_the_random_numbers_of_the_target(here, capsys):
    losses = []
    for seed in ("1", "1", "2"):
        check("model.py:seeded", "--json", "--seed", seed)
        losses.append(json.loads(capsys.readouterr().out)["snapshot"]["loss"])
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(
    ("environment", "option", "expected"),
    [
        ({}, None, "en"),
        ({"LANG": "zh_CN.UTF-8"}, None, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, None, "en"),
        ({"LANG": "de_DE.UTF-8", "ISOGRAD_LANG": "zh"}, None, "zh"),
        ({"ISOGRAD_LANG": "zh"}, "en", "en"),
    ],
)
def test_language(here, stub, monkeypatch, capsys, environment, option, expected):
    monkeypatch.setattr(options.locale, "getlocale", lambda: (None, None))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    check("model.py", *(["--lang", option] if option else []))
    out = capsys.readouterr().out.replace("printed by the target", "")
    assert any("\u4e00" <= letter <= "\u9fff" for letter in out) == (expected == "zh")


def test_an_unknown_language_is_refused(here, stub, monkeypatch, capsys):
    monkeypatch.setenv("ISOGRAD_LANG", "fr")
    assert check("model.py") == 2
    assert capsys.readouterr().err == (
        "isograd check: ISOGRAD_LANG is 'fr'; it must be one of en, zh.\n"
    )
    assert check("model.py", "--lang", "fr") == 2


@pytest.mark.parametrize("arguments", [["--steps", "-1"], ["--steps", "x"], ["--width", "0"]])
def test_numbers_out_of_range_are_refused(here, stub, capsys, arguments):
    assert check("model.py", *arguments) == 2
    assert "must be a whole number of at least" in capsys.readouterr().err


def test_no_target_says_how(capsys):
    assert check() == 2
    assert capsys.readouterr().err.splitlines() == [
        "isograd check: which model? Give FILE.py:target.",
        "Most likely:",
        "(a) `isograd check model.py:target`, where target() returns (model, step).",
    ]


def test_an_error_of_the_measurement_is_printed_once(here, stub, monkeypatch, capsys):
    def fail(*_, **__):
        raise StepError("step(model) raised ValueError: x.")

    monkeypatch.setattr(api, "check", fail)
    assert check("model.py") == 2
    assert capsys.readouterr().err == "isograd check: step(model) raised ValueError: x.\n"


def test_a_step_that_exits_is_a_failure(here):
    assert check("model.py:exits", "--quiet") == 2


def test_in_a_process_of_its_own(here):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "isograd", "check"]
    sick = subprocess.run(
        [*command, "model.py:deep", "--json"],
        capture_output=True,
        timeout=120,
        env=environment,
    )
    assert sick.returncode == 1, sick.stderr
    assert json.loads(sick.stdout.decode("utf-8"))["ok"] is False
    wrong = subprocess.run(
        [*command, "modle.py"], capture_output=True, timeout=120, env=environment
    )
    assert (wrong.returncode, wrong.stdout) == (2, b"")
    assert b"Traceback" not in wrong.stderr
