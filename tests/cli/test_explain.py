"""`isograd explain` lists the codes, prints one, and writes the page."""

from __future__ import annotations

import subprocess
import sys
import webbrowser

import pytest

from isograd.cli import explain, main
from isograd.reporters.explain import page
from isograd.rules import rules


@pytest.fixture
def opened(monkeypatch):
    """What the browser was asked to open."""
    asked: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: bool(asked.append(url)) or True)
    monkeypatch.setenv("DISPLAY", ":0")
    return asked


@pytest.fixture
def terminal(monkeypatch):
    """Standard output says that it is a terminal, once this is called in the test."""
    return lambda: monkeypatch.setattr(sys.stdout, "isatty", lambda: True)


def test_lists_every_code(capsys):
    assert main(["explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [rule.CODE for rule in rules()]


def test_prints_one_rule(capsys):
    assert main(["explain", "g101"]) == 0
    assert "What it checks:" in capsys.readouterr().out


def test_an_unknown_code_lists_the_known_ones(capsys):
    assert main(["explain", "G999"]) == 2
    assert "G101" in capsys.readouterr().err


def test_in_a_pipe_it_writes_nothing_and_says_how(tmp_path, monkeypatch, opened, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["explain"]) == 0
    assert "isograd explain --out isograd-explain.html" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert opened == []


def test_in_a_terminal_the_page_follows_the_codes_and_opens(
    tmp_path, monkeypatch, opened, terminal, capsys
):
    terminal()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ISOGRAD_LANG", "en")
    assert main(["explain"]) == 0
    *codes, last = capsys.readouterr().out.splitlines()
    assert len(codes) == len(list(rules()))
    assert last == "The derivation as a page: isograd-explain.html"
    written = tmp_path / explain.PAGE
    assert written.read_text(encoding="utf-8") == page("en")
    assert opened == [written.as_uri()]


def test_no_open_and_no_screen_open_nothing(tmp_path, monkeypatch, opened, terminal):
    terminal()
    out = str(tmp_path / "page.html")
    assert main(["explain", "--out", out, "--no-open"]) == 0
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert main(["explain", "--out", out]) == 0
    assert opened == []


@pytest.mark.usefixtures("opened")
def test_a_browser_that_cannot_start_is_no_failure(tmp_path, monkeypatch, terminal):
    terminal()
    asked = []

    def fail(url):
        asked.append(url)
        raise webbrowser.Error("no browser")

    monkeypatch.setattr(webbrowser, "open", fail)
    assert main(["explain", "--out", str(tmp_path / "page.html")]) == 0
    assert len(asked) == 1


@pytest.mark.parametrize(("lang", "mark"), [("en", '<html lang="en">'), ("zh", "zh-CN")])
def test_out_writes_the_page_in_the_language(tmp_path, capsys, lang, mark):
    file = tmp_path / "page.html"
    assert main(["explain", "--out", str(file), "--lang", lang]) == 0
    assert capsys.readouterr().out == f"The derivation as a page: {file}\n"
    assert mark in file.read_text(encoding="utf-8")[:60]


def test_its_own_page_is_renewed_and_no_other_file_overwritten(tmp_path, capsys):
    file = tmp_path / "page.html"
    file.write_text("<title>mine</title>")
    assert main(["explain", "--out", str(file)]) == 2
    assert "will not overwrite" in capsys.readouterr().err
    assert file.read_text() == "<title>mine</title>"
    assert main(["explain", "--out", str(file), "--force"]) == 0
    assert main(["explain", "--out", str(file)]) == 0


def test_a_missing_folder_and_a_code_with_out_are_usage_errors(tmp_path, capsys):
    assert main(["explain", "--out", str(tmp_path / "none" / "page.html")]) == 2
    assert "there is no directory" in capsys.readouterr().err
    assert main(["explain", "G101", "--out", str(tmp_path / "page.html")]) == 2
    assert "either CODE or --out" in capsys.readouterr().err


def test_it_runs_without_torch(tmp_path):
    """The page needs no tensor, and a learner no wait."""
    program = (
        "import sys; from isograd.cli import main\n"
        f"assert main(['explain', '--out', {str(tmp_path / 'page.html')!r}]) == 0\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
