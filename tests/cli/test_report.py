"""`isograd report`, `compare` and their kin from the command line; none of them needs torch."""

import json
import subprocess
import sys

import pytest

import run_samples as samples
from isograd.cli import main
from isograd.runfile import RunWriter


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ISOGRAD_LANG", "en")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    samples.written(tmp_path / "isograd-runs" / "a")
    samples.written(tmp_path / "isograd-runs" / "b")
    return tmp_path


@pytest.mark.parametrize("which", [[], ["a"], ["isograd-runs/a"], ["isograd-runs/a/rank-0.isog"]])
def test_a_run_is_found_by_name_by_path_and_as_the_latest(here, capsys, which):
    assert main(["report", *which]) == 0
    said = capsys.readouterr().out
    name = "a" if which else said.split(".html")[0]
    assert said == f"{name}.html: 20 steps, 3 parameters\n"
    page = (here / f"{name}.html").read_text(encoding="utf-8")
    assert f"<title>isograd · {name}</title>" in page


def test_its_own_page_is_renewed_and_no_other_file(here, capsys):
    assert main(["report", "a"]) == main(["report", "a"]) == 0
    (here / "notes.html").write_text("mine", encoding="utf-8")
    assert main(["report", "a", "--out", "notes.html"]) == 2
    assert "will not overwrite `notes.html` without --force" in capsys.readouterr().err
    assert main(["report", "a", "--out", "notes.html", "--force"]) == 0


def test_the_page_opens_in_the_language_asked_for(here):
    assert main(["report", "a", "--lang", "zh"]) == 0
    assert '<html lang="zh-CN">' in (here / "a.html").read_text(encoding="utf-8")


def test_damage_is_told(here, capsys):
    file = here / "isograd-runs" / "a" / "rank-0.isog"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 255
    file.write_bytes(data)
    assert main(["report", "a"]) == 0
    assert "not readable in rank-0.isog" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "none"],
        ["compare", "a", "none"],
        ["export", "none", "--to", "csv"],
        ["report", "a", "--rank", "7"],
    ],
)
@pytest.mark.usefixtures("here")
def test_what_is_not_there_is_2_and_named(capsys, arguments):
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"isograd {arguments[0]}: ")
    assert " no " in err.splitlines()[0]
    assert "Traceback" not in err


def test_without_any_run_it_says_how_to_record_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["report"]) == 2
    assert "`isograd run train.py` writes one" in capsys.readouterr().err


@pytest.mark.parametrize("fmt", ["csv", "sqlite"])
@pytest.mark.usefixtures("here")
def test_an_export_takes_names_too(fmt, capsys):
    assert main(["export", "a", "--to", fmt]) == 0
    assert capsys.readouterr().out == f"a.{fmt}: 20 steps, 3 parameters\n"


def test_comparing_writes_text_json_and_page(here, capsys):
    statistic = ["--statistic", "norm"]
    assert main(["compare", "a", "b", *statistic, "--json", "c.json", "--out", "c.html"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["a | b", "bit-identical at all 20 common steps"]
    assert lines[-1] == "c.html"
    found = json.loads((here / "c.json").read_text(encoding="utf-8"))
    assert found["common"] == 20
    assert {each["name"] for each in found["layers"]} == set(samples.NAMES)
    assert main(["compare", "a", "b", *statistic, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out) == found


@pytest.mark.usefixtures("here")
def test_comparing_a_statistic_there_is_none_of(capsys):
    assert main(["compare", "a", "b"]) == 2
    assert "`a` has no 'grad_norm'; it has norm, rms" in capsys.readouterr().err


def test_how_the_program_ended_is_listed_with_the_verdict(here, capsys):
    with RunWriter(here / "isograd-runs" / "c", ["w"], ["norm"], ("loss",)) as writer:
        writer.step(0, [[1.0]], [2.0])
        writer.close("G101 gradient vanishes (+2 more)", ok=False, ending="stopped by OSError")
    assert main(["runs", "--columns", "100"]) == 0
    out = capsys.readouterr().out
    assert "stopped by OSError, G101 gradient vanishes (+2 more)" in out
    assert max(map(len, out.splitlines())) <= 100
    assert main(["runs", "--lang", "zh"]) == 0
    assert "因 OSError 而中止" in capsys.readouterr().out
    assert main(["runs", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)[0]
    assert (first["ending"], first["ok"]) == ("stopped by OSError", False)


# --- Without torch

ALONE = """
import sys
from isograd.cli import live, main
live.feed = lambda *_: None
code = main(sys.argv[1:])
print("torch" in sys.modules, code)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "a"],
        ["compare", "a", "b", "--statistic", "norm", "--lang", "zh", "--out", "c.html"],
        ["runs", "--lang", "zh"],
        ["export", "a", "--to", "csv"],
        ["live", "a", "--port", "0"],
        ["gc", "--older-than", "1d"],
    ],
)
@pytest.mark.usefixtures("here")
def test_torch_is_not_imported(arguments):
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *arguments], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1] == "False 0", done.stderr


@pytest.mark.usefixtures("here")
def test_the_test_above_can_fail():
    code = "import sys; sys.modules['torch'] = sys\n" + ALONE
    done = subprocess.run(
        [sys.executable, "-c", code, "runs"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "True 0"


@pytest.mark.usefixtures("here")
def test_a_closed_pipe_ends_a_listing_without_a_word():
    done = subprocess.run(
        f"{sys.executable} -m isograd runs | true; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode in (0, 141)
