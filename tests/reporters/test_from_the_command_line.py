"""What `isograd check` asks of the reporters: language of the page, and a chosen parameter."""

from pathlib import Path

import pytest

from isograd import api, cli
from reporters.samples import SAMPLES


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(api, "check", lambda *_, **__: SAMPLES["residual"]())
    Path("model.py").write_text(
        "from torch import nn\n\ndef target():\n    return nn.Linear(1, 1), lambda model: None\n",
        encoding="utf-8",
    )

    def check(*arguments):
        assert cli.main(["check", "model.py:target", *arguments]) == 0
        return capsys.readouterr().out

    return check


@pytest.mark.parametrize(("lang", "tag"), [("zh", "zh-CN"), ("en", "en")])
def test_the_page_opens_in_the_language_asked_for(check, lang, tag):
    check("--lang", lang, "--html", "page.html")
    page = Path("page.html").read_text(encoding="utf-8")
    assert f'<html lang="{tag}">' in page
    assert f'{{"lang":"{lang}",' in page


def test_a_parameter_without_gradient_gets_its_reason_instead_of_an_empty_table(check):
    lines = check("--parameter", "embed.weight", "--lang", "en", "--width", "80").splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("chain from the loss"))
    assert lines[at].startswith("chain from the loss to `embed.weight` ──")
    assert lines[at + 1] == "  no gradient reaches `embed.weight`: requires_grad is False (G501)"
    assert lines[at + 2] == ""


def test_a_chosen_parameters_decades_are_those_of_its_chain(check):
    text = check("--parameter", "head.bias", "--lang", "en")
    assert "chain from the loss to `head.bias`: 2 links, -0.10 decades" in text
    assert "blocks.0.proj    " not in text.split("decades by kind")[1].split("learning speed")[0]
