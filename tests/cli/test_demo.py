"""`isograd demo` passes its arguments on; the demo itself has its own tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from isograd import cli, demo


@pytest.fixture
def calls(tmp_path, monkeypatch):
    seen = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "run", lambda **options: seen.append(options))
    return seen


def test_the_page_has_a_default_name(calls):
    assert cli.main(["demo"]) == 0
    assert calls == [{"html": Path("isograd-demo.html")}]


def test_arguments_are_passed_on(calls):
    assert cli.main(["demo", "--html", "a.html", "--seed", "0", "--steps", "5"]) == 0
    assert calls == [{"html": Path("a.html"), "seed": 0, "steps": 5}]


def test_a_file_of_someone_elses_is_not_overwritten(calls, capsys):
    Path("isograd-demo.html").write_text("mine", encoding="utf-8")
    assert cli.main(["demo"]) == 2
    assert calls == []
    assert "without --force" in capsys.readouterr().err
    assert cli.main(["demo", "--force"]) == 0


def test_steps_below_one_are_refused(calls, capsys):
    assert cli.main(["demo", "--steps", "0"]) == 2
    assert "at least 1" in capsys.readouterr().err
