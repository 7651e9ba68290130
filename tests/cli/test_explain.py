"""`isograd explain` lists the codes and prints one."""

from __future__ import annotations

from isograd.cli import main
from isograd.rules import rules


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
