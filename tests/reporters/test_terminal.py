"""Whole reports against readable goldens; accept new ones with ISOGRAD_ACCEPT=1."""

import io
import os
from pathlib import Path

import pytest
import rich.console
from rich.cells import cell_len

from isograd.reporters import terminal
from reporters.samples import SAMPLES

GOLDENS = Path(__file__).parent / "goldens"


@pytest.mark.parametrize(
    ("name", "lang"),
    [
        ("vanishing", "en"),
        ("residual", "en"),
        ("deep", "en"),
        ("broken", "en"),
        ("zero", "en"),
        ("unreached", "en"),
        ("chinese", "zh"),
        ("symmetric", "en"),
        ("shared", "en"),
        ("fighting", "en"),
        ("overflowing", "en"),
    ],
)
def test_report_reads_as_the_golden(name, lang):
    text = terminal.text(SAMPLES[name](), 80, lang)
    golden = GOLDENS / f"{name}.{lang}.txt"
    if os.environ.get("ISOGRAD_ACCEPT"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("width", [60, 72, 80, 99, 100, 120, 160, 200])
def test_no_line_is_wider_than_the_terminal(diagnosis, width, lang):
    for line in terminal.text(diagnosis, width, lang).splitlines():
        assert cell_len(line) <= width, line


def test_full_report_shows_every_link_and_sentence():
    d = SAMPLES["deep"]()
    text = terminal.text(d, 100, full=True)
    assert "… " not in text.split("decades by kind")[0].split("chain from")[1]
    assert all(sentence in text for sentence in d.not_checked)


def test_rich_prints_the_same_lines_as_text():
    file = io.StringIO()
    console = rich.console.Console(file=file, width=100, color_system=None)
    d = SAMPLES["residual"]()
    console.print(terminal.render(d))
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    assert lines == terminal.text(d, 100).splitlines()


def test_colours_belong_to_the_theme():
    file = io.StringIO()
    console = rich.console.Console(
        file=file, width=100, color_system="truecolor", force_terminal=True
    )
    console.print(terminal.render(SAMPLES["vanishing"]()))
    assert "\x1b[31m" in file.getvalue()
    assert "38;2;" not in file.getvalue()  # no fixed colour that could vanish on the background


def test_names_cannot_send_commands_to_the_terminal():
    text = terminal.text(SAMPLES["hostile"](), 200)
    assert "\x1b" not in text
    assert "[bold]" in text


def test_unknown_language_is_refused():
    with pytest.raises(ValueError, match="`lang` must be one of en, zh, got 'fr'"):
        terminal.text(SAMPLES["zero"](), lang="fr")
